"""The bias of the online estimator on made scores whose bias is known."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from errors import UserError
from experiments.bias import biases, of_runs

ROOT = pathlib.Path(__file__).parents[2]
# After epochs 1 to 4; each sample moves by ± the same, so the epoch's mean moves by half of it.
OFFLINE = np.array([[0.0, 0.0, 0.0, 0.0], [0.4, 0.4, 0.4, -0.4], [0.6, 0.6, 0.6, -0.6], [0.6, 0.6, 0.6, -0.6]])


def test_scores_of_the_start_have_no_bias_against_it():
    online = np.concatenate([[[9.0, 9.0, 9.0, 9.0]], OFFLINE[:-1]])  # epoch 1 has no start on record
    result = biases(online.astype(np.float32), OFFLINE.astype(np.float32))
    assert result["start"] == dict.fromkeys(("mean_of_epoch", "max_of_epoch", "mean_of_samples", "max_of_samples"), 0)
    assert result["middle"] == pytest.approx(
        {"mean_of_epoch": 0.05, "max_of_epoch": 0.1, "mean_of_samples": 0.1, "max_of_samples": 0.2}, abs=1e-6
    )


def test_scores_halfway_have_no_bias_against_the_middle():
    online = np.concatenate([OFFLINE[:1], (OFFLINE[1:] + OFFLINE[:-1]) / 2])
    result = biases(online, OFFLINE)
    assert result["middle"] == pytest.approx(dict.fromkeys(result["middle"], 0), abs=1e-12)
    assert result["start"] == pytest.approx(
        {"mean_of_epoch": 0.05, "max_of_epoch": 0.1, "mean_of_samples": 0.1, "max_of_samples": 0.2}
    )


@pytest.fixture
def runs(tmp_path):
    """Two seeds at one learning rate, whose biases against the start are 0.02 and 0.04 in every epoch and sample."""
    for seed, bias in ((0, 0.02), (1, -0.04)):
        workdir = tmp_path / "runs" / f"seed{seed}"
        workdir.mkdir(parents=True)
        config = {"seed": seed, "optimizer": {"learning_rate": 0.1}, "augment": {"pad": 0, "flip": False}}
        (workdir / "config.json").write_text(json.dumps(config))
        (workdir / "summary.json").write_text("{}")
        np.save(workdir / "scores.offline.npy", np.full((5, 8), 0.5))
        np.save(workdir / "scores.npy", np.full((5, 8), 0.5 + bias))
    return tmp_path / "runs"


def run_script(*arguments):
    command = [sys.executable, "scripts/estimator_bias.py", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_table_of_runs_and_of_their_figures(runs):
    result = run_script(runs, "--output", runs / "bias.json")
    figures = " | ".join(["0.0300 ± 0.0141"] * 4)
    assert result.stdout.splitlines()[2:] == [
        f"| 0.1 | 2 | start | {figures} | 0.04 / 0.12 |",
        f"| 0.1 | 2 | middle | {figures} | not stated |",
    ]
    assert [run["run"] for run in json.loads((runs / "bias.json").read_text())] == ["seed0", "seed1"]
    assert run_script(runs / "bias.json").stdout == result.stdout


def test_a_mistake_is_one_line(tmp_path):
    result = run_script(tmp_path)
    assert result.returncode == 2
    assert "holds no finished run with scores.offline.npy" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_augmented_runs_are_refused(runs):
    file = runs / "seed0" / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"augment": {"pad": 0, "flip": True}}))
    with pytest.raises(UserError, match="seed0 augments its images"):
        of_runs(runs)
