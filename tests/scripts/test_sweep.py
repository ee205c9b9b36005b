"""Sweeps as a user starts, stops, kills and repeats them; where many runs are needed, a stand-in trains."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from run_scripts import check_refusal, run_script
from stand_in import ROOT, STAND_IN, StandIns, wait_for


def test_failures_are_tried_once_more_and_listed_with_their_last_line(tmp_path):
    sweep = StandIns(tmp_path, ["fine", "flaky", "broken", "mistake", "fine"])
    code, out, error = sweep.run()
    assert (code, error) == (1, "")
    assert [len(sweep.starts(name)) for name in sweep.names] == [1, 2, 2, 1, 1]
    logs = tmp_path / "x" / "logs"
    *lines, count = out.partition("3 of 5 runs are finished\n")[0].splitlines(), out.splitlines()[-7:]
    assert count == [
        "3 of 5 runs are finished",
        *("mistake-3: exit code 2", "    what the user did wrong", f"    {logs / 'mistake-3.log'}"),
        *("broken-2: exit code 1", "    RuntimeError: what broke", f"    {logs / 'broken-2.log'}"),
    ]
    assert "finished  fine-0  (1.0 min; 1 of 5, less than 1 min left)" in lines[0]
    assert (logs / "broken-2.log").read_text().count("RuntimeError: what broke") == 2


def test_runs_that_were_stopped_are_trained_again_however_often(tmp_path):
    sweep = StandIns(tmp_path, ["fine", "stopped", "fine"])
    code, out, _ = sweep.run()
    assert code == 0
    assert [len(sweep.starts(name)) for name in sweep.names] == [1, 4, 1]
    assert out.splitlines()[2:6] == [
        "started   stopped-1",
        "stopped   stopped-1  (it is trained again)",
        "started   fine-2",
        "finished  fine-2  (1.0 min; 2 of 3, less than 1 min left)",
    ]
    assert out.count("trained again: 1 that were stopped\n") == 3


def test_the_same_command_trains_only_what_is_left(tmp_path):
    sweep = StandIns(tmp_path, ["fine", "broken", "fine"])
    sweep.run()
    before = sweep.finished()
    (tmp_path / "stand_in.py").write_text(STAND_IN.replace('"broken"', '"mended"'))
    code, out, _ = sweep.run("--max_parallel=2")
    assert code == 0
    assert sweep.finished().items() > before.items()
    assert [len(sweep.starts(name)) for name in sweep.names] == [1, 3, 1]
    assert out.splitlines() == [
        "started   broken-1",
        "finished  broken-1  (1.0 min; 3 of 3)",
        "3 of 3 runs are finished",
    ]
    assert sweep.run()[:2] == (0, "3 of 3 runs are finished\n")


def test_a_dry_run_shows_states_and_commands_and_changes_nothing(tmp_path):
    sweep = StandIns(tmp_path, ["fine", "broken", "fine"])
    sweep.run("--only=fine-0")
    sweep.run("--only=broken-1")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    code, out, _ = sweep.run("--dry_run")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["finished", "unfinished", "new"]
    for line, name in zip(out.splitlines(), sweep.names, strict=True):
        assert line.endswith(
            f" uv run {tmp_path}/stand_in.py --workdir={sweep.workdir(name)} --mode={name.partition('-')[0]} "
            "--seconds=0.05"
        )
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}


def test_as_many_run_at_a_time_as_are_allowed(tmp_path):
    sweep = StandIns(tmp_path, ["fine"] * 7, seconds=0.3)
    process = sweep.start("--max_parallel=3")
    seen = []
    while process.poll() is None:
        seen.append(len(sweep.alive()))
        time.sleep(0.02)
    assert max(seen) == 3
    assert process.communicate()[0].count("started") == 7


def test_runs_at_the_same_time_have_different_gpus_and_the_next_run_has_those_of_one_that_ended(tmp_path):
    sweep = StandIns(tmp_path, ["fine"] * 5, seconds=0.3)
    environment = {name: value for name, value in os.environ.items() if name != "JAX_PLATFORMS"}
    code, out, _ = sweep.run("--max_parallel=2", environment=environment | {"CUDA_VISIBLE_DEVICES": "3,6"})
    assert code == 0
    assert out.startswith("each run has 1 of 2 GPUs\nstarted   fine-0\n")
    gpus = [(sweep.workdir(name) / "gpus").read_text() for name in sweep.names]
    assert sorted(gpus[:2]) == ["3", "6"]
    assert set(gpus) == {"3", "6"}


def test_a_single_run_has_all_gpus(tmp_path):
    sweep = StandIns(tmp_path, ["fine"])
    environment = {name: value for name, value in os.environ.items() if name != "JAX_PLATFORMS"}
    code, _, _ = sweep.run("--max_parallel=8", environment=environment | {"CUDA_VISIBLE_DEVICES": "3,6"})
    assert (code, (sweep.workdir("fine-0") / "gpus").read_text()) == (0, "3,6")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_sweep_leaves_no_process(tmp_path, number):
    sweep = StandIns(tmp_path, ["fine"] * 4, seconds=60)
    process = sweep.start("--max_parallel=2")
    wait_for(lambda: len(sweep.alive()) == 2)
    process.send_signal(number)
    out, error = process.communicate(timeout=20)
    assert process.returncode == 75
    assert error == ""
    assert out.splitlines()[-1] == "stopped; the same command continues"
    assert not sweep.alive()
    sweep.write(["fine"] * 4, seconds=0)
    assert sweep.run()[0] == 0
    assert [len(sweep.starts(name)) for name in sweep.names] == [2, 2, 1, 1]


def test_a_killed_sweep_loses_nothing_and_repeats_nothing(tmp_path):
    generator = random.Random(0)
    sweep = StandIns(tmp_path, ["fine"] * 20, seconds=0.1)
    finished = {}
    for _ in range(12):
        process = sweep.start("--max_parallel=3")
        for _ in range(generator.randint(1, 6)):
            process.stdout.readline()
        time.sleep(generator.uniform(0, 0.1))
        process.kill()
        process.communicate()
        wait_for(lambda: not sweep.alive())
        assert sweep.finished().items() >= finished.items()
        finished = sweep.finished()
    assert sweep.run("--max_parallel=3")[0] == 0
    assert set(sweep.finished()) == set(sweep.names)
    assert sweep.finished().items() >= finished.items()
    assert not sweep.were_two_at_once()
    assert not any("finished already" in log.read_text() for log in (tmp_path / "x" / "logs").iterdir())
    assert any(len(sweep.starts(name)) > 1 for name in sweep.names), "no kill has hit a run"


def test_two_sweeps_share_the_work(tmp_path):
    sweep = StandIns(tmp_path, ["fine"] * 12, seconds=0.2)
    both = [sweep.start("--max_parallel=2") for _ in range(2)]
    outs = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert not sweep.were_two_at_once()
    assert all("(1.0 min; 12 of 12)" in out for out in outs)
    assert sum(out.count("started") for out in outs) < 2 * 12
    assert all(out.count("started") for out in outs)
    assert set(sweep.finished()) == set(sweep.names)


def test_a_run_that_outlives_its_sweep_is_waited_for(tmp_path):
    """As where the system does not end the processes of a killed sweep with it."""
    sweep = StandIns(tmp_path, ["fine", "fine"], seconds=3)
    source = (
        "import os, sys; sys.platform = 'other'\n"
        "import pathlib; from sweeps.launch import Training; from sweeps.definition import load\n"
        f"Training(load({str(tmp_path / 'x.py')!r}).runs[0], pathlib.Path({str(tmp_path / 'x')!r})).start()\n"
        "os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", source], cwd=ROOT, env=os.environ | {"PYTHONPATH": "src:."}, check=True)
    sweep.write(["fine", "fine"], seconds=0)
    wait_for(lambda: sweep.alive())
    code, out, _ = sweep.run()
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines()[:-1]] == [
        ["waits", "fine-0"],
        ["started", "fine-1"],
        ["finished", "fine-1"],
        ["finished", "fine-0"],
    ]
    assert [len(sweep.starts(name)) for name in sweep.names] == [1, 1]


COMPARISON = "configs/sweeps/model_comparison.py"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["none.py"], "none.py"),
        (["configs/sweeps/table1.py:mnist"], "bfloat16 and imagenet, not 'mnist'"),
        ([COMPARISON, "--max_parallel=0"], "--max_parallel is 0; it must be at least 1"),
        ([COMPARISON, "--max_parallel=two"], "--max_parallel: invalid int value: 'two'"),
        ([COMPARISON, "--launcher=pbs"], "'pbs' (choose from 'local', 'slurm')"),
        ([COMPARISON, "--launcher=slurm"], "sbatch"),
        ([COMPARISON, "--only=x"], "--only=x matches no run; one is called convnext-10k-seed0"),
        ([COMPARISON, "--config.epoch=3"], "no field epoch; did you mean epochs?"),
        ([COMPARISON, "--dryrun"], "--dryrun"),
        ([], "required: sweep"),
        ([COMPARISON, "--wandb_file=/nowhere/x.yaml"], "'/nowhere/x.yaml'"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, monkeypatch, arguments, says):
    monkeypatch.setenv("PATH", str(tmp_path))
    check_refusal(run_script("sweep.py", *arguments, f"--output={tmp_path / 'runs'}"), "sweep.py: ", says)
    assert not (tmp_path / "runs").exists()


DIGITS = """
from sweeps import Run

def get_runs():
    small = {"dataset.train_examples": 100, "epochs": 2, "network.depths": (1,), "network.widths": (8,)}
    return [Run("configs/digits.py", {"seed": seed}, {**small, "seed": seed}) for seed in range(3)]
"""


@pytest.mark.slow
def test_real_runs_are_trained_and_continued(tmp_path):
    (tmp_path / "x.py").write_text(DIGITS)
    command = [sys.executable, "scripts/sweep.py", str(tmp_path / "x.py"), f"--output={tmp_path}"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    checkpoint = tmp_path / "x" / "seed1" / "checkpoints" / "resume" / "2"  # two steps are an epoch
    wait_for(checkpoint.exists, 300)
    process.kill()
    process.communicate()
    first = (tmp_path / "x" / "seed0" / "summary.json").stat()
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1] == "3 of 3 runs are finished"
    assert (tmp_path / "x" / "seed0" / "summary.json").stat() == first
    for seed in range(3):
        summary = json.loads((tmp_path / "x" / f"seed{seed}" / "summary.json").read_text())
        assert summary["epochs"] == 2
        assert json.loads((tmp_path / "x" / f"seed{seed}" / "config.json").read_text())["seed"] == seed
    dry = subprocess.run([*command, "--dry_run"], cwd=ROOT, capture_output=True, text=True)
    assert [line.split()[0] for line in dry.stdout.splitlines()] == ["finished"] * 3
    other = subprocess.run([*command, "--config.epochs=3", "--only=seed0"], cwd=ROOT, capture_output=True, text=True)
    assert other.returncode == 1
    assert f"0 of 1 runs are finished\nseed0: {tmp_path}/x/seed0 holds a run" in other.stdout
    assert "holds a run with another config (epochs: 2 there, 3 here)" in other.stdout
    (tmp_path / "x" / "seed0" / "summary.json").write_text("{")
    dry = subprocess.run([*command, "--dry_run"], cwd=ROOT, capture_output=True, text=True)
    assert [line.split()[0] for line in dry.stdout.splitlines()] == ["refused", "finished", "finished"]
