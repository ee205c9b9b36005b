"""The bias of the online estimator on made scores whose bias is known."""

import numpy as np
import pytest
from finished import list_runs, write_run
from run_scripts import run_script, start_script

from errors import UserError
from reports.estimator_bias import compute_biases, measure_bias
from reports.page import TABLES
from reports.rendering import to_markdown
from training.run.reader import find_runs, read_run

# After epochs 1 to 4; each sample moves by ± the same, so the epoch's mean moves by half of it.
OFFLINE = np.array([[0.0, 0.0, 0.0, 0.0], [0.4, 0.4, 0.4, -0.4], [0.6, 0.6, 0.6, -0.6], [0.6, 0.6, 0.6, -0.6]])


def test_scores_of_the_start_have_no_bias_against_it():
    online = np.concatenate([[[9.0, 9.0, 9.0, 9.0]], OFFLINE[:-1]])  # epoch 1 has no start on record
    result = compute_biases(online.astype(np.float32), OFFLINE.astype(np.float32))
    assert result["start"] == dict.fromkeys(("mean_of_epoch", "max_of_epoch", "mean_of_samples", "max_of_samples"), 0)
    assert result["middle"] == pytest.approx(
        {"mean_of_epoch": 0.05, "max_of_epoch": 0.1, "mean_of_samples": 0.1, "max_of_samples": 0.2}, abs=1e-6
    )


def test_scores_halfway_have_no_bias_against_the_middle():
    online = np.concatenate([OFFLINE[:1], (OFFLINE[1:] + OFFLINE[:-1]) / 2])
    result = compute_biases(online, OFFLINE)
    assert result["middle"] == pytest.approx(dict.fromkeys(result["middle"], 0), abs=1e-12)
    assert result["start"] == pytest.approx(
        {"mean_of_epoch": 0.05, "max_of_epoch": 0.1, "mean_of_samples": 0.1, "max_of_samples": 0.2}
    )


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Two seeds at one learning rate, whose biases against the start are 0.02 and 0.04 in every epoch and sample."""
    list_runs(monkeypatch, [{"optimizer": "sgd", "learning_rate": 0.1, "seed": seed} for seed in (0, 1)])
    for seed, bias in ((0, 0.02), (1, -0.04)):
        workdir = tmp_path / "estimators" / f"sgd-0.1-seed{seed}"
        write_run(workdir, test=[0.5] * 5)
        np.save(workdir / "scores.offline.npy", np.full((5, 8), 0.5))
        np.save(workdir / "scores.npy", np.full((5, 8), 0.5 + bias))
    return tmp_path / "estimators"


def test_figures_of_runs_and_their_table(runs):
    result = start_script("estimator_bias.py", runs)
    assert result.stdout.splitlines() == [
        "sgd-0.1-seed0: |online − start of the epoch| is 0.0200 per sample",
        "sgd-0.1-seed1: |online − start of the epoch| is 0.0400 per sample",
    ]
    (table,) = TABLES["estimators"](find_runs(runs.parent))
    figures = "0.0300 ± 0.0141 (2)"
    assert to_markdown([table]).splitlines()[-2:] == [
        f"| 0.1 | start | {figures} | {figures} | {figures} [0.0400, −0.0100] | {figures} [0.1200, −0.0900] |",
        f"| 0.1 | middle | {figures} | {figures} | {figures} | {figures} |",
    ]


def test_mistakes_are_one_line(runs, tmp_path):
    (runs / "sgd-0.1-seed1" / "scores.offline.npy").unlink()
    (tmp_path / "empty").mkdir()
    for folder, *says in ((tmp_path / "empty", "holds no finished run"), (runs, "sgd-0.1-seed1", "scores.offline.npy")):
        result = run_script("estimator_bias.py", folder)
        assert result.returncode == 2
        assert len(result.stderr.splitlines()) == 1
        assert all(part in result.stderr for part in says)


@pytest.mark.parametrize(
    ("config", "field"),
    [({"augment": {"flip": True}}, "flip"), ({"dataset": {"feed": "stream"}}, "crop_area")],
)
def test_augmented_runs_are_refused(tmp_path, config, field):
    write_run(tmp_path / "run", test=[0.5], config=config)
    with pytest.raises(UserError, match=field):
        measure_bias(read_run(tmp_path / "run"))
