"""The command as a user types it: its output, its exit code, its files and its one line of error."""

import contextlib
import fcntl
import json
import os
import pathlib
import pty
import re
import shlex
import shutil
import struct
import subprocess
import sys
import termios

import numpy as np
import pytest
from small_runs import UNTIMED, files

from repository import ROOT

from training.run.restoring import load_params

SMALL = [
    "--config=configs/digits.py",
    "--config.epochs=2",
    "--config.stopping.rules=max_gwa",
    "--config.checkpoint_minutes=0",
    "--config.dataset.train_examples=200",
    "--config.network.depths=(1,)",
    "--config.network.widths=(16,)",
    "--config.network.patch_size=2",
]
SECRET = "0123456789abcdef0123456789abcdef01234567"  # the form of a key of Weights & Biases


def train(*arguments, check=True, environment=None):
    command = [sys.executable, "src/train.py", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, check=check, capture_output=True, text=True)


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "first"
    return workdir, train(*SMALL, f"--workdir={workdir}")


def test_it_reports_choice_last_best_and_checkpoint(finished_run):
    workdir, result = finished_run
    data, first, *lines = result.stdout.splitlines()
    assert data.startswith("data: training ")
    assert re.fullmatch(r"batch of \d+ on 1 device \(cpu\)", first)
    assert [line.split()[0] for line in lines[:2]] == ["epoch", "epoch"]
    summary = json.loads((workdir / "summary.json").read_text())
    chosen = summary["rules"]["max_gwa"]
    for line, choice in zip(lines[2:5], (chosen, summary["last"], summary["best_on_test"]), strict=True):
        assert f"epoch {choice['epoch']:3d}" in line
        assert f"test accuracy {choice['test_accuracy']:.4f}" in line
    checkpoint, page = (pathlib.Path(line.split()[-1]) for line in lines[5:])
    assert checkpoint == workdir / chosen["checkpoint"]
    assert checkpoint.is_dir()
    assert page == workdir / "report.html"
    assert f"Keep epoch {chosen['epoch']}" in page.read_text()
    assert all("two peaks" in line for line in result.stderr.splitlines())


def test_it_leaves_every_file_of_a_run(finished_run):
    workdir, _ = finished_run
    names = {path.name for path in workdir.iterdir()}
    assert names == {
        *("config.json", "environment.json", "history.jsonl", "scores.npy", "predictions.npy", "labels.npz"),
        *("summary.json", "checkpoints", "report.html"),
    }
    environment = json.loads((workdir / "environment.json").read_text())
    assert shlex.split(environment["command"])[1:] == [*SMALL, f"--workdir={workdir}"]  # as it can be pasted again
    assert environment["packages"]["jax"]
    assert json.loads((workdir / "config.json").read_text())["epochs"] == 2


def test_a_finished_run_is_reported_and_not_repeated(finished_run):
    workdir, first = finished_run
    before = {path: path.stat().st_mtime_ns for path in workdir.rglob("*")}
    again = train(*SMALL, f"--workdir={workdir}")
    assert "holds a finished run" in again.stdout.splitlines()[0]
    assert again.stdout.splitlines()[1:] == first.stdout.splitlines()[-len(again.stdout.splitlines()) + 1 :]
    assert before == {path: path.stat().st_mtime_ns for path in workdir.rglob("*")}


def test_a_page_that_cannot_be_written_costs_no_run(finished_run, tmp_path):
    del finished_run  # it has filled the compilation cache
    (tmp_path / "jinja2.py").write_text("raise ImportError('jinja2 is broken')")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    result = train(*SMALL, f"--workdir={tmp_path / 'run'}", environment=environment)
    (line,) = (line for line in result.stderr.splitlines() if "two peaks" not in line)
    assert line == f"{tmp_path / 'run' / 'report.html'} was not written: jinja2 is broken"
    assert (tmp_path / "run" / "summary.json").exists()
    assert "page:" not in result.stdout


def test_a_run_without_a_page_says_what_does_nothing_and_stores_no_secret(finished_run, tmp_path):
    del finished_run
    options = ["--config.report=False", "--config.augment.crop_area=0.2", "--config.wandb.mode=offline"]
    environment = os.environ | {"WANDB_API_KEY": SECRET, "WANDB_BASE_URL": "http://127.0.0.1:9"}
    result = train(*SMALL, *options, f"--workdir={tmp_path}", environment=environment)
    assert not (tmp_path / "report.html").exists()
    assert "page:" not in result.stdout
    line = "augment.crop_area=0.2 has no effect on this run: it needs dataset.feed=stream"
    assert line in result.stderr.splitlines()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--config is missing"),
        (["--config=configs/none.py"], f"--config: there is no file configs/none.py in {ROOT}"),
        (["--config=configs/digits.py:foo"], "--config: configs/digits.py has no variants, so 'foo' means nothing"),
        (["--config=configs/cifar10_small.py:resnet"], "variants convnext and vit"),
        (["--config=configs/digits.py", "--config.sed=1"], "no field sed; did you mean seed?"),
        (["--config=configs/digits.py", "--config.epochs=many"], "--config.epochs=many: it must be a whole number"),
        (["--config=configs/digits.py", "--confg.epochs=3"], "no flag --confg.epochs; did you mean --config.epochs?"),
        (["--config=configs/digits.py", "more"], "more is not understood"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(arguments, message):
    result = train(*arguments, check=False)
    assert result.returncode == 2
    assert result.stdout == ""
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--config.network.name=vit_s17", "vit_s16"),
        ("--config.dataset.name=cifar11", "prepared no 'cifar11'"),
        ("--config.batch_size=0", "batch_size is 0"),
        ("--config.wandb.mode=on", "wandb.mode is 'on'"),
        ("--config.optimizer.learning_rate=-1", "optimizer.learning_rate is -1.0; it must be a number in (0, 1000]"),
        ("--config.augment.pad=10000", "augment.pad is 10000"),
        ("--config.augment.pad=9", "augment.pad is 9; the images are 8 × 8 pixels"),
        ("--config.seed=-1", "seed is -1"),
    ],
)
def test_a_mistake_in_the_config_costs_nothing_that_is_saved(finished_run, override, message):
    workdir, _ = finished_run
    before = {path: path.stat().st_mtime_ns for path in workdir.rglob("*")}
    result = train(*SMALL, override, f"--workdir={workdir}", "--overwrite", check=False)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert before == {path: path.stat().st_mtime_ns for path in workdir.rglob("*")}


@pytest.mark.parametrize("damage", ["a flipped bit", "a cut"])
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_it_is_used(finished_run, tmp_path, damage):
    workdir = cut_off_at_its_end(finished_run[0], tmp_path)
    damage_arrays(workdir / "checkpoints" / "resume" / "8", damage)
    result = train(*SMALL, f"--workdir={workdir}")
    line, *_ = result.stderr.splitlines()  # the network of these tests makes two peaks in epoch 2
    resume = workdir / "checkpoints" / "resume"
    assert line.startswith(f"{resume / '8'} cannot be restored (default/d/")
    assert line.endswith(f"it is now {workdir}/checkpoints/damaged/resume-8, and training continues after step 4")
    assert "continues after step 4" in result.stdout.splitlines()[1]
    assert {path.name for path in resume.iterdir()} == {"4", "8"}
    (history, *arrays), (expected, *same) = files(workdir), files(finished_run[0])
    assert [record | UNTIMED for record in history] == [record | UNTIMED for record in expected]
    assert all(np.array_equal(one, other) for one, other in zip(arrays, same, strict=True))


def test_without_a_checkpoint_that_can_be_restored_the_run_is_refused(finished_run, tmp_path):
    workdir = cut_off_at_its_end(finished_run[0], tmp_path)
    for step in ("4", "8"):
        damage_arrays(workdir / "checkpoints" / "resume" / step, "a flipped bit")
    history = (workdir / "history.jsonl").read_bytes()
    result = train(*SMALL, f"--workdir={workdir}", check=False)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert "checkpoints/resume can be restored (8: default/d/" in line
    kept = re.search(r"--config.pretrained=(\S+) starts from the parameters of epoch \d", line)[1]
    assert load_params(kept)
    assert "overwrite" not in line
    assert (workdir / "history.jsonl").read_bytes() == history


def test_other_labels_than_those_of_the_run_are_refused(finished_run, tmp_path):
    workdir = cut_off_at_its_end(finished_run[0], tmp_path)
    arrays = dict(np.load(workdir / "labels.npz"))
    arrays["labels"][[3, 5]] = (arrays["labels"][[3, 5]] + 1) % 10
    np.savez(workdir / "labels.npz", **arrays)
    before = {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}
    result = train(*SMALL, f"--workdir={workdir}", check=False)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert f"the data have changed since the run in {workdir} began: 2 labels changed, such as of row " in line
    assert before == {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}


def cut_off_at_its_end(run, tmp_path):
    """A copy of the run as if it had been cut off just before its end."""
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    return tmp_path / "run"


def damage_arrays(checkpoint, damage):
    for path in checkpoint.rglob("d/*"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data if damage == "a flipped bit" else data[: len(data) // 2])


@pytest.mark.parametrize("name", ["thesis.tex", "config.json"])
def test_a_folder_of_something_else_is_left_alone(tmp_path, name):
    """Hugging Face's folders have a config.json too."""
    for file in ("history.jsonl", name):
        (tmp_path / file).write_text('{"architectures": ["ViTModel"], "seed": 0}')
    result = train(*SMALL, f"--workdir={tmp_path}", "--overwrite", check=False)
    assert result.returncode == 2
    assert "holds no run" in result.stderr
    assert (tmp_path / name).exists()
    assert (tmp_path / "history.jsonl").exists()


def test_overwrite_deletes_what_the_run_and_the_scripts_have_written_and_no_more(finished_run, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(finished_run[0], workdir)
    (workdir / "figures").mkdir()
    for name in ("label_issues.csv", "figures/run.png", "notes.txt", "mine.npy", "scores.mine.npy"):
        (workdir / name).write_text(name)
    result = train(*SMALL, "--config.seed=1", f"--workdir={workdir}", "--overwrite")
    assert result.stderr == f"{workdir} keeps what the run has not written: mine.npy, notes.txt, scores.mine.npy\n"
    assert (workdir / "mine.npy").read_text() == "mine.npy"
    names = {path.name for path in finished_run[0].iterdir()}
    assert {path.name for path in workdir.iterdir()} == {*names, "mine.npy", "notes.txt", "scores.mine.npy"}
    assert json.loads((workdir / "config.json").read_text())["seed"] == 1
    assert "resumed" not in json.loads((workdir / "environment.json").read_text())


def test_a_terminal_gets_a_bar(finished_run, tmp_path):
    del finished_run  # it has filled the compilation cache
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 130, 0, 0))
    command = [sys.executable, "src/train.py", *SMALL, f"--workdir={tmp_path}"]
    process = subprocess.Popen(command, cwd=ROOT, stdin=end, stdout=end, stderr=end)
    os.close(end)
    shown = b""
    with contextlib.suppress(OSError):  # the terminal is gone when the process ends
        while chunk := os.read(terminal, 4096):
            shown += chunk
    os.close(terminal)
    assert process.wait() == 0
    (last,) = re.findall(r"epoch 2/2: 100%[^\r\n]*", shown.decode())[-1:]
    assert re.search(r"steps?/s|s/step", last)  # tqdm turns the rate round on a slow machine
    assert re.search(r"GWA -?\d\.\d+, training accuracy 0\.\d+", last)
