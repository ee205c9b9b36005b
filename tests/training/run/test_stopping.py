"""Runs that are killed or asked to stop at random moments: they go on, and end as if nothing had happened."""

import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from small_runs import UNTIMED, files, small

from repository import ROOT

import stop_requests
from errors import Stopped
from training import epoch_record, loop
from training.run.progress import Progress
from training.run.restoring import load_params
from training.run.session import Session

DISPATCHES = 12  # of three epochs: three of two steps each, and one of one step
OPTIONS = {"steps_per_dispatch": 2, "batch_size": 64}  # five steps, so three dispatches in an epoch
CONFIG = [
    "--config=configs/digits.py",
    "--config.epochs=3",
    "--config.checkpoint_minutes=0",
    "--config.batch_size=48",
    "--config.steps_per_dispatch=2",
    "--config.dataset.train_examples=300",
    "--config.network.depths=(1,)",
    "--config.network.widths=(8,)",
    "--config.network.patch_size=2",
    "--config.stopping.rules=('max_gwa','label_wave','last')",
    "--config.stopping.warmup=0.0",
    "--config.report=False",
]


def train(workdir, number="SIGKILL", kind="never", count=0):
    command = [sys.executable, "tests/support/interrupted_train.py", number, kind, str(count), *CONFIG]
    return subprocess.run([*command, f"--workdir={workdir}"], cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing has stopped, and how many moments of each kind it has."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    train(workdir.with_name("first"))  # it fills the cache of programs
    result = train(workdir)
    assert result.returncode == 0, result.stderr
    return workdir, json.loads(result.stdout.splitlines()[-1])


def assert_same(workdir, whole):
    (history, *arrays), (expected, *same) = files(workdir), files(whole)
    assert [record | UNTIMED for record in history] == [record | UNTIMED for record in expected]
    assert all(np.array_equal(one, other) for one, other in zip(arrays, same, strict=True))
    summaries = [json.loads((folder / "summary.json").read_text()) | UNTIMED for folder in (workdir, whole)]
    assert summaries[0] == summaries[1]
    for choice in summaries[0]["rules"].values():
        if choice["checkpoint"]:
            ours, theirs = (load_params(folder / choice["checkpoint"]) for folder in (workdir, whole))
            assert str(ours) == str(theirs)


def draw(generator, counts):
    """A random moment: half of them while files are written, the others in steps and in the set-up."""
    kind = generator.choice(["file", "file", "dispatch", "module"])
    return kind, generator.randint(1, DISPATCHES // 3 if kind == "dispatch" else counts[kind])


@pytest.mark.parametrize("times", [pytest.param(5, marks=pytest.mark.slow), pytest.param(25, marks=pytest.mark.long)])
def test_a_run_that_is_killed_again_and_again_ends_as_if_it_had_not_been(whole, tmp_path, times):
    run, counts = whole
    generator, killed, finished = random.Random(0), 0, 0
    while killed < times:
        result = train(tmp_path / "run", "SIGKILL", *draw(generator, counts))
        assert result.returncode in (0, -signal.SIGKILL), result.stderr
        killed += result.returncode != 0
        if result.returncode == 0:  # there was no such moment left
            assert_same(tmp_path / "run", run)
            (tmp_path / "run").rename(tmp_path / f"run-{finished}")
            finished += 1
    assert train(tmp_path / "run").returncode == 0
    assert_same(tmp_path / "run", run)


@pytest.mark.long
def test_a_run_that_is_asked_to_stop_computes_nothing_twice(whole, tmp_path):
    run, counts = whole
    generator, stopped, dispatches = random.Random(1), 0, 0
    signals = itertools.cycle(("SIGTERM", "SIGUSR1", "SIGINT"))
    while stopped < 10:
        name = next(signals)
        kind = generator.choice(["file", "dispatch"])
        moment = generator.randint(1, 3 if kind == "dispatch" else counts[kind] // 2)
        result = train(tmp_path / "run", name, kind, moment)
        number = getattr(signal, name)
        if result.returncode == 0:
            dispatches += count_dispatches(result)
            assert (dispatches, assert_same(tmp_path / "run", run)) == (DISPATCHES, None)
            (tmp_path / "run").rename(tmp_path / f"run-{stopped}")
            dispatches = 0
            continue
        assert result.returncode in (75, 128 + number), result.stderr
        last = result.stderr.splitlines()[-1]
        if result.returncode == 75:
            assert re.fullmatch(r"train\.py: stopped by [\w-]+ after step \d+ of 21; everything is saved, and .*", last)
            dispatches += count_dispatches(result)
        else:  # in the set-up, or after the last epoch
            assert last.startswith("train.py: ended by")
        stopped += 1
    result = train(tmp_path / "run")
    assert result.returncode == 0
    assert_same(tmp_path / "run", run)


def count_dispatches(result):
    return json.loads(result.stdout.splitlines()[-1]).get("dispatch", 0)


@pytest.fixture(scope="module")
def uncut(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("uncut") / "run"
    loop.train(small(**OPTIONS), workdir)
    return workdir


@pytest.mark.parametrize("moment", ["dispatch 1", "dispatch 2", "dispatch 3", "dispatch 6", "evaluation", "epoch"])
def test_a_request_is_answered_after_a_dispatch_or_in_an_evaluation(uncut, tmp_path, monkeypatch, moment):
    """Dispatch 3 is the last one of the first epoch."""
    kind, _, count = moment.partition(" ")
    asked, dispatches = [], []
    dispatch, evaluate, save = Progress.show_dispatch, epoch_record.start_evaluation, Session.save_epoch

    def show_dispatch(*arguments):
        dispatches.append(arguments)
        asked.extend(["now"] * (len(dispatches) == int(count or 0)))
        dispatch(*arguments)

    def interrupt(*arguments):
        if kind == "evaluation":
            asked.append("now")
            raise stop_requests.Interrupted
        return evaluate(*arguments)

    def save_epoch(*arguments):
        save(*arguments)
        asked.extend(["now"] * (kind == "epoch"))

    monkeypatch.setattr(Progress, "show_dispatch", show_dispatch)
    monkeypatch.setattr(epoch_record, "start_evaluation", interrupt)
    monkeypatch.setattr(Session, "save_epoch", save_epoch)
    monkeypatch.setattr(stop_requests, "asked", lambda: signal.SIGTERM if asked else None)
    step = {"dispatch 1": 2, "dispatch 2": 4, "dispatch 6": 10}.get(moment, 5)
    with pytest.raises(Stopped, match=f"stopped by SIGTERM after step {step} of 15"):
        loop.train(small(**OPTIONS), tmp_path / "run")
    monkeypatch.undo()
    monkeypatch.setattr(Progress, "show_dispatch", show_dispatch)
    loop.train(small(**OPTIONS), tmp_path / "run")
    assert len(dispatches) == 9
    assert_same(tmp_path / "run", uncut)


def start(workdir, *options):
    command = [sys.executable, "src/train.py", *CONFIG, "--config.epochs=1000", f"--workdir={workdir}", *options]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_request_during_the_setup_is_one_line(tmp_path):
    result = train(tmp_path / "run", "SIGTERM", "module", 300)
    assert (result.returncode, result.stdout) == (128 + signal.SIGTERM, ""), result.stderr
    assert result.stderr == (
        "train.py: ended by SIGTERM; nothing was saved now, and the same command continues from the latest "
        "checkpoint, if there is one\n"
    )


def test_ctrl_c_saves(tmp_path):
    process = start(tmp_path / "run")
    while not process.stdout.readline().startswith("epoch 2/"):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 75
    (line,) = (line for line in error.splitlines() if "two peaks" not in line)
    assert line.startswith("train.py: stopped by Ctrl-C after step ")


def test_a_second_ctrl_c_does_not_wait():
    program = (
        "import os, signal, stop_requests, threading, time\n"
        "stop_requests.listen()\n"
        "stop_requests.defer()\n"
        "threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()\n"  # `uv run` passes it on once more
        "threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "time.sleep(0.6)\n"
        "print(stop_requests.asked().name, flush=True)\n"
        "time.sleep(20)"
    )
    environment = os.environ | {"PYTHONPATH": "src"}
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=15)
    assert (result.returncode, result.stdout) == (130, "SIGINT\n")
    assert result.stderr.startswith("-c: ended by Ctrl-C; nothing was saved now, and the same command continues from ")
