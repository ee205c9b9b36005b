"""Aggregates of stored scores, against SciPy; and the table of what the paper's rule chooses from them."""

import json

import numpy as np
import pytest
import scipy.stats
from finished import list_runs, write_run
from hypothesis import given, settings
from hypothesis import strategies as st
from run_scripts import check_refusal, run_script, start_script

from reports.aggregates import aggregate
from reports.judging import choose_epoch
from reports.page import TABLES
from training.run.reader import find_runs


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 99), count=st.integers(2, 301), epochs=st.integers(1, 4), beta=st.floats(0.1, 5))
def test_against_scipy(seed, count, epochs, beta):
    rng = np.random.default_rng(seed)
    scores = rng.beta(5, 0.5 + rng.random(), (epochs, count)).astype(np.float32) - np.float32(0.4)
    gwa, mean, median, trimmed = aggregate(scores, [beta]).values()
    exact = scores.astype(np.float64)
    denominator = scipy.stats.kurtosis(exact, axis=1) + beta
    expected = np.where(denominator > 0, exact.mean(axis=1) / denominator, np.nan)
    np.testing.assert_allclose(gwa, expected, rtol=1e-9)
    np.testing.assert_allclose(mean, exact.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(median, np.median(exact, axis=1), rtol=1e-12)
    np.testing.assert_allclose(trimmed, scipy.stats.trim_mean(exact, 0.1, axis=1), rtol=1e-12)


def test_what_is_not_defined_is_not_chosen():
    peaks = np.repeat([[-1.0, 1.0], [0.5, 0.5], [0.2, 0.4]], 50, axis=1)  # two peaks, all equal, two peaks
    values = aggregate(peaks, [1.2, 2.5])
    assert np.isnan(values["GWA, β = 1.2"]).all()
    np.testing.assert_allclose(values["GWA, β = 2.5"], [0, np.nan, 0.3 / 0.5], atol=1e-12)
    history = [{"epoch": epoch, "progress": epoch / 3} for epoch in (1, 2, 3)]
    assert choose_epoch(history, values["GWA, β = 1.2"]) is None
    assert choose_epoch(history, values["GWA, β = 2.5"]) == 3


@pytest.fixture
def run(tmp_path):
    """Ten epochs. The mean is highest in epoch 1, which the rule skips, then in 4, where a few scores are far out."""
    rng = np.random.default_rng(0)
    centres = np.array([0.9, 0.1, 0.2, 0.3, 0.4, 0.5, 0.4, 0.3, 0.2, 0.1])
    scores = centres[:, None] + rng.normal(0, 0.05, (10, 400))
    scores[3, :10] += 12
    write_run(tmp_path / "run", test=[None if epoch == 4 else epoch / 16 for epoch in range(1, 11)])
    predictions = np.zeros(scores.shape, np.int8)
    scores[:, -1], predictions[:, -1] = np.nan, -1  # an image that was skipped
    np.save(tmp_path / "run" / "scores.npy", scores.astype(np.float32))
    np.save(tmp_path / "run" / "predictions.npy", predictions)
    return tmp_path / "run"


def test_ablation(run):
    result = start_script("ablate.py", run, "--beta", "1.2", "5")
    assert result.stdout.splitlines() == [
        "| aggregate | epochs | test accuracy |",
        "|---|---|---|",
        "| GWA, β = 1.2 | 6 | 37.50 (1) |",
        "| GWA, β = 5 | 6 | 37.50 (1) |",
        "| mean | 4 | not measured |",
        "| median | 6 | 37.50 (1) |",
        "| mean without 10 % at each end | 6 | 37.50 (1) |",
        "| last | 10 | 62.50 (1) |",
        "| oracle | 10 | 62.50 (1) |",
    ]
    assert json.loads((run / "ablation.json").read_text())["median"] == {"epoch": 6, "test_accuracy": 0.375}


def test_table_over_runs(run, monkeypatch):
    """What each aggregate loses against the best epoch: 62.5 − 37.5, and nothing where the best one is chosen."""
    folder = run.parent / "beta"
    list_runs(monkeypatch, [{"noise": 0.2, "seed": seed} for seed in (0, 1)])
    for name, epoch in (("0.2-seed0", 6), ("0.2-seed1", 10)):
        write_run(folder / name, test=[0.625 if i == 9 else 0.375 for i in range(10)])
        choices = {"mean": {"epoch": epoch, "test_accuracy": 0.375 if epoch == 6 else 0.625}}
        choices["oracle"] = {"epoch": 10, "test_accuracy": 0.625}
        (folder / name / "ablation.json").write_text(json.dumps(choices))
    (table,) = TABLES["aggregates"](find_runs(run.parent))
    assert table.columns == ("aggregate", "0.2", "overall")
    ((name, cell, overall),) = table.rows
    assert (name, cell.ours.mean, cell.ours.n) == ("mean", pytest.approx(12.5), 2)
    assert overall == cell


def test_missing_scores_are_one_line(run):
    (run / "scores.npy").unlink()
    check_refusal(run_script("ablate.py", run), str(run), "scores.npy")
