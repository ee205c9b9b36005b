"""`find_label_issues.py`, as someone with a folder of pictures runs it."""

import contextlib
import csv
import json
import shutil
import signal
import subprocess
import sys
import time

import image_folder
import numpy as np
import pytest
import swapped_digits
from PIL import Image
from run_scripts import check_refusal, run_script, start_script

from repository import ROOT

SMALL = (
    "--config.epochs=2",
    "--config.dataset.image_size=16",
    "--config.network.depths=(1,)",
    "--config.network.widths=(8,)",
    "--config.network.patch_size=4",
    "--config.augment.pad=1",
)
FILES = ("report.html", "label_issues.csv", "label_issues.parquet")


def write_stripes(folder, count=40):
    """Two classes, upright and level stripes; the first two pictures of each lie in the other's directory."""
    rng = np.random.default_rng(0)
    for name, other, axis in (("level", "upright", 0), ("upright", "level", 1)):
        for i in range(count):
            image = rng.normal(128, 20, (24, 20))
            image += 60 * np.sign(np.sin(np.arange(image.shape[axis]) + i)).reshape((-1, 1) if axis == 0 else (1, -1))
            place = folder / (other if i < 2 else name)
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(place / f"{name}{i:02}.png")
    return folder


def check_other_pictures(result, says):
    """Refused in the last line; the one before says that pictures are read."""
    first, line = result.stderr.splitlines()
    assert (result.returncode, result.stdout) == (2, "")
    assert first.startswith("reading ")
    assert says in line
    assert "--overwrite searches anew" in line


def read(file):
    with file.open(newline="") as content:
        return list(csv.DictReader(content))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["{folder}/nowhere"], "there is no folder {folder}/nowhere"),
        (["{folder}/train/n01"], "n01 holds no directories; it must hold one per class"),
        (["{folder}/one"], "{folder}/one has the only class 'n01'; there must be at least two"),
        (["{folder}", "--epochs=3"], "--epochs=3 is not understood"),
        (["{folder}", "--config.epochs"], "--config.epochs is not understood"),
        (["{folder}", "--config.epoch=3"], "no field epoch; did you mean epochs?"),
        (["{folder}", "--config.epochs=few"], "few"),
        (["{folder}", "--config.dataset.path=elsewhere"], "names a folder, and so does {folder}"),
        (["{folder}", "--workdir={folder}"], "{folder} is not empty and holds no run"),
        ([], "folder"),
    ],
)
def test_mistakes_are_one_line(tmp_path, arguments, says):
    image_folder.write(tmp_path)
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "n01").symlink_to(tmp_path / "train" / "n01")
    check_refusal(
        run_script("find_label_issues.py", *(argument.format(folder=tmp_path) for argument in arguments)),
        says.format(folder=tmp_path),
    )


@pytest.mark.slow
def test_from_a_folder_to_the_page(tmp_path):
    folder, workdir = write_stripes(tmp_path / "stripes"), tmp_path / "run"
    command = ("find_label_issues.py", folder, f"--workdir={workdir}", *SMALL)
    result = start_script(*command)
    assert result.returncode == 0, result.stderr
    assert "epoch 2/2" in result.stdout
    assert "of 80 labels are suspect, after 2 epochs" in result.stdout
    assert "compared with the clean labels" not in result.stdout  # nobody knows them
    assert result.stdout.splitlines()[-3:] == [f"wrote {workdir / name}" for name in FILES]
    rows = read(workdir / "label_issues.csv")
    assert {row["path"] for row in rows} == {str(file.relative_to(folder)) for file in folder.glob("*/*.png")}
    assert all(row["path"].startswith(f"{row['given_class']}/") for row in rows)
    assert "upright/level00.png" in (workdir / "report.html").read_text()
    config = json.loads((workdir / "config.json").read_text())
    assert (config["epochs"], config["dataset"]["path"]) == (2, str(folder))

    (workdir / "report.html").unlink()
    again = start_script(*command)
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[0] == f"{workdir} holds a finished run; --overwrite deletes it and starts again."
    assert "epoch 1/2" not in again.stdout
    assert (workdir / "report.html").exists()

    shutil.move(folder / "upright" / "level00.png", folder / "level" / "level00.png")
    missing, added = "1 image missing, such as upright/level00.png", "1 image added, such as level/level00.png"
    check_other_pictures(start_script(*command), f"{missing} and {added}")
    shutil.copy(folder / "level" / "level00.png", folder / "upright" / "level00.png")
    check_other_pictures(start_script(*command), f"began: {added}")
    (folder / "level" / "level00.png").unlink()
    shutil.copy(folder / "level" / "level05.png", folder / "upright" / "level00.png")
    check_other_pictures(start_script(*command), "1 image changed, such as of upright/level00.png")
    shutil.move(folder / "upright" / "level00.png", folder / "level" / "level00.png")
    result = start_script(*command, "--overwrite")
    assert result.returncode == 0, result.stderr
    assert "epoch 2/2" in result.stdout
    assert "level/level00.png" in {row["path"] for row in read(workdir / "label_issues.csv")}


@pytest.mark.long
def test_swapped_labels_of_digits_are_found(tmp_path):
    """As the table in docs/labels.md says, by the names of the swapped ones, which only judge."""
    swapped_digits.write(tmp_path / "digits", seed=1)
    result = start_script("find_label_issues.py", tmp_path / "digits", f"--workdir={tmp_path / 'run'}")
    assert result.returncode == 0, result.stderr
    flagged, precision, recall, worst = swapped_digits.judge(tmp_path / "digits", tmp_path / "run")
    assert f"{flagged} of 1438 labels are suspect, after 30 epochs" in result.stdout
    assert precision > 0.8
    assert recall > 0.95
    assert worst > 0.9


@pytest.mark.slow
def test_a_damaged_picture_ends_the_search_with_its_name(tmp_path):
    folder = write_stripes(tmp_path / "stripes")
    (folder / "level" / "level07.png").write_bytes(b"")
    command = ("find_label_issues.py", folder, f"--workdir={tmp_path / 'run'}", *SMALL)
    result = start_script(*command)
    assert (result.returncode, result.stdout) == (2, "")
    assert "level/level07.png cannot be decoded (the file is empty)" in result.stderr.splitlines()[-1]
    result = start_script(*command, "--config.dataset.stream.damaged=skip")
    assert result.returncode == 0, result.stderr
    assert "of 79 labels are suspect" in result.stdout
    assert "1 image(s) that cannot be decoded" in result.stdout


@pytest.mark.slow
def test_ctrl_c_ends_the_training_too_and_the_same_command_continues(tmp_path):
    workdir = tmp_path / "run"
    command = ["scripts/find_label_issues.py", str(write_stripes(tmp_path / "stripes")), f"--workdir={workdir}", *SMALL]
    command = [sys.executable, *command, "--config.epochs=2000"]
    with _start(command) as process:
        while process.poll() is None and _count_epochs(workdir) < 3:  # the first is surely safe then
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "Traceback" not in error
    assert "the same command continues" in (out + error)
    epochs = _count_epochs(workdir)
    assert 3 <= epochs < 2000
    time.sleep(1)
    assert _count_epochs(workdir) == epochs  # nobody trains any more
    with _start(command) as process:
        first = process.stdout.readline() + process.stdout.readline()  # the data, and how they are trained on
        process.send_signal(signal.SIGTERM)
        out, error = process.communicate(timeout=60)
    assert "continues after step" in first
    assert "the same command continues" in (out + error)


@contextlib.contextmanager
def _start(command):
    """A process that does not outlive the test, however that ends."""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _count_epochs(workdir):
    history = workdir / "history.jsonl"
    return len(history.read_text().splitlines()) if history.exists() else 0
