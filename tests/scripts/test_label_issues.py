"""`label_issues.py` and training on what it has written, as their users run them."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pyarrow.parquet
import pytest
from run_scripts import check_refusal, run_script, start_script

from repository import ROOT

SMALL = [
    "--config=configs/digits.py",
    "--config.epochs=3",
    "--config.dataset.train_examples=300",
    "--config.dataset.val_fraction=0.2",
    "--config.network.depths=(1,)",
    "--config.network.widths=(16,)",
    "--config.network.patch_size=2",
]


def train(*arguments):
    command = [sys.executable, "src/train.py", *SMALL, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run with its files of label issues, of which some lines are flagged by hand: so few epochs flag none."""
    workdir = tmp_path_factory.mktemp("runs") / "first"
    assert train(f"--workdir={workdir}").returncode == 0
    result = start_script("label_issues.py", workdir)
    assert (result.returncode, result.stderr) == (0, "")
    file = workdir / "label_issues.csv"
    header, *lines = file.read_text().splitlines()
    assert header.startswith("is_label_issue,")
    lines = [f"{number < 30},{line.partition(',')[2]}" for number, line in enumerate(lines)]
    file.write_text("\n".join([header, *lines]) + "\n")
    return workdir, result


def test_it_says_what_it_found(run):
    workdir, result = run
    lines = result.stdout.splitlines()
    assert "of 240 labels are suspect, after 3 epochs" in lines[0]
    assert "criterion: " in lines[1]
    assert "estimated share of wrong labels: " in lines[2]
    assert any(line.startswith("the 10 most suspect labels") for line in lines)
    assert any(line.startswith("judged by the clean labels") for line in lines)
    assert lines[-2:] == [f"wrote {workdir / name}" for name in ("label_issues.csv", "label_issues.parquet")]
    assert pyarrow.parquet.read_metadata(workdir / "label_issues.parquet").num_rows == 240


def test_no_run_is_one_line(tmp_path):
    check_refusal(run_script("label_issues.py", tmp_path / "none"), "history.jsonl is missing")


@pytest.mark.parametrize("clean", ["drop", "relabel"])
def test_training_on_cleaned_labels(run, tmp_path, clean):
    workdir, _ = run
    before = np.load(workdir / "labels.npz")
    option, way = f"--config.dataset.labels={workdir / 'label_issues.csv'}", f"--config.dataset.clean={clean}"
    again = tmp_path / "again"
    result = train(option, way, f"--workdir={again}")
    assert (result.returncode, result.stderr) == (0, "")
    summary, cleaning = (json.loads((again / f"{name}.json").read_text()) for name in ("summary", "cleaning"))
    assert summary["cleaning"] == cleaning
    assert (cleaning["run"], cleaning["clean"], cleaning["flagged"]) == ("first", clean, 30)
    done = "dropped" if clean == "drop" else "relabelled"
    note = f"{cleaning['changed']} training examples {done} by {workdir / 'label_issues.csv'} (SHA-256 "
    assert note + cleaning["sha256"][:12] in result.stdout.splitlines()[1]
    after = np.load(again / "labels.npz")
    assert summary["train_examples"] == len(after["rows"]) == cleaning["kept"]
    assert summary["val_examples"] == 60
    if clean == "drop":
        assert np.array_equal(after["rows"], before["rows"][30:])
        assert np.array_equal(after["labels"], before["labels"][30:])
        assert cleaning["changed"] == 30
    else:
        assert np.array_equal(after["rows"], before["rows"])
        suggested = pyarrow.parquet.read_table(workdir / "label_issues.parquet")["predicted_label"].to_numpy()
        assert np.array_equal(after["labels"], np.where(np.arange(240) < 30, suggested, before["labels"]))
        assert cleaning["changed"] == np.sum(after["labels"] != before["labels"])
    assert np.array_equal(
        after["clean_labels"], before["clean_labels"][30:] if clean == "drop" else before["clean_labels"]
    )
    assert start_script("label_issues.py", again).returncode == 0


def test_a_resumed_run_needs_the_same_file(run, tmp_path):
    file, again = tmp_path / "issues.csv", tmp_path / "run"
    shutil.copy(run[0] / "label_issues.csv", file)
    arguments = [f"--config.dataset.labels={file}", f"--workdir={again}"]
    assert train(*arguments).returncode == 0
    (again / "summary.json").unlink()  # as if it had been cut off just before its end
    content = file.read_text()
    file.write_text(content.replace("False", "True", 1))
    result = train(*arguments)
    check_refusal(result, "dataset.labels", "has changed since the run", str(again))
    assert len((again / "history.jsonl").read_text().splitlines()) == 3
    file.write_text(content)
    assert train(*arguments).returncode == 0
    file.unlink()
    (again / "summary.json").unlink()
    check_refusal(train(*arguments), "there is no file", str(file))


def test_mistakes_cost_nothing(run, tmp_path):
    workdir, _ = run
    before = {path: path.stat().st_mtime_ns for path in workdir.rglob("*")}
    option = f"--config.dataset.labels={workdir / 'label_issues.csv'}"
    result = train(option, f"--workdir={workdir}", "--overwrite")
    check_refusal(result, "--overwrite would empty", "dataset.labels")
    result = train(option, f"--workdir={tmp_path / 'other'}", "--config.dataset.seed=1")
    check_refusal(result, "is not of this training data: for row")
    assert not os.path.exists(tmp_path / "other")
    assert before == {path: path.stat().st_mtime_ns for path in workdir.rglob("*")}
