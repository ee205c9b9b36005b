"""`label_issues.py`, and training on what it has written, as their users run them."""

import json
import subprocess
import sys

import numpy as np
import pyarrow.parquet
import pytest
from run_scripts import check_refusal, run_script, start_script
from small_runs import small

from repository import ROOT

from training import loop


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A finished run."""
    workdir = tmp_path_factory.mktemp("runs") / "first"
    loop.train(small(2), workdir)
    return workdir


def test_it_says_what_it_found(workdir):
    result = start_script("label_issues.py", workdir)
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert "of 300 labels are suspect, after 2 epochs" in lines[0]
    assert "criterion: " in lines[1]
    assert "estimated share of wrong labels: " in lines[2]
    assert any(line.startswith("the 10 most suspect labels") for line in lines)
    assert any(line.startswith("compared with the clean labels") for line in lines)
    assert lines[-2:] == [f"wrote {workdir / name}" for name in ("label_issues.csv", "label_issues.parquet")]
    assert pyarrow.parquet.read_metadata(workdir / "label_issues.parquet").num_rows == 300


def test_a_share_is_flagged_where_one_is_asked_for(workdir):
    result = run_script("label_issues.py", workdir, "--share=0.25")
    assert result.stdout.splitlines()[0] == "75 of 300 labels are suspect, after 2 epochs"
    assert "the first 25.0 % of the ranking" in result.stdout
    check_refusal(run_script("label_issues.py", workdir, "--share=25"), "share is 25.0")


def test_no_run_is_one_line(tmp_path):
    check_refusal(run_script("label_issues.py", tmp_path / "none"), f"there is no folder {tmp_path / 'none'}")


@pytest.mark.slow
def test_train_clean_and_train_again(tmp_path):
    """The digits with a fifth of the labels wrong: without the flagged ones, hardly any is."""

    def train(workdir, *options):
        command = [sys.executable, "src/train.py", "--config=configs/digits.py", f"--workdir={workdir}", *options]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        return result.stdout, json.loads((workdir / "summary.json").read_text())

    first, second = tmp_path / "first", tmp_path / "second"
    _, noisy = train(first, "--config.epochs=15")
    assert start_script("label_issues.py", first).returncode == 0
    option = f"--config.dataset.labels={first / 'label_issues.csv'}"
    shown, cleaned = train(second, "--config.epochs=15", option)
    assert f"{cleaned['cleaning']['changed']} training examples dropped" in shown
    assert noisy["wrong_label_share"] == pytest.approx(0.2, abs=0.001)
    assert cleaned["wrong_label_share"] < 0.02
    assert cleaned["cleaning"]["changed"] < 0.3 * noisy["train_examples"]
    with np.load(first / "labels.npz") as before, np.load(second / "labels.npz") as after:
        assert set(after["rows"]) < set(before["rows"])
    # With another seed of the noise, other labels are wrong.
    command = [sys.executable, "src/train.py", "--config=configs/digits.py", f"--workdir={tmp_path / 'third'}", option]
    result = subprocess.run([*command, "--config.dataset.seed=1"], cwd=ROOT, capture_output=True, text=True)
    check_refusal(result, "is not of this training data: for row")
    assert not (tmp_path / "third").exists()
