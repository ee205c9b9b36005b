"""scripts/gwa_torch.py as a user runs it: a work directory like that of src/train.py, and one line per mistake."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from repository import ROOT

pytestmark = pytest.mark.torch


def run_script(*arguments, script="gwa_torch.py"):
    command = [sys.executable, f"scripts/{script}", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": "src"}  # this environment holds the requirements, not the project
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """Two epochs of an MLP on 300 digits, a fifth of whose labels is wrong."""
    pytest.importorskip("torch")
    workdir = tmp_path_factory.mktemp("results") / "mlp"
    result = run_script("--network=mlp", "--epochs=2", "--train-examples=300", f"--workdir={workdir}")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    summary = json.loads((workdir / "summary.json").read_text())
    chosen = summary["rules"]["max_gwa"]
    assert f"epoch {chosen['epoch']}   test accuracy {chosen['test_accuracy']:.4f}" in result.stdout
    assert (workdir / chosen["checkpoint"] / "model.pt").exists()
    return workdir


def test_the_records_fit_each_other(workdir):
    history = [json.loads(line) for line in (workdir / "history.jsonl").read_text().splitlines()]
    scores, predictions = np.load(workdir / "scores.npy"), np.load(workdir / "predictions.npy")
    labels = np.load(workdir / "labels.npz")
    assert scores.shape == predictions.shape == (2, 300)
    assert np.mean(labels["labels"] != labels["clean_labels"]) == pytest.approx(0.2, abs=0.06)
    for record, epoch_scores, predicted in zip(history, scores, predictions, strict=True):
        assert record["alignment_mean"] == pytest.approx(epoch_scores.mean(dtype=float), abs=1e-6)
        assert record["train_accuracy"] == pytest.approx(np.mean(predicted == labels["labels"]))
    assert history[1]["prediction_changes"] == np.sum(predictions[0] != predictions[1])
    assert "torch" in json.loads((workdir / "environment.json").read_text())["packages"]


def test_tables_and_figures_read_it(workdir):
    assert "| `mlp` | 1 |" in run_script(workdir.parent, script="tables.py").stdout
    assert run_script(workdir, script="figures.py").returncode == 0


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--network=resnet", "--network is 'resnet'"),
        ("--dataset=cifar11", "prepared no 'cifar11'"),
        ("--epochs=many", "invalid int value"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, argument, message):
    result = run_script(argument, f"--workdir={tmp_path / 'run'}")
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()
