"""Scores of wrong labels against scikit-learn and counts by hand, and the table over runs."""

import json

import numpy as np
import pytest
from finished import list_runs, write_run
from run_scripts import run_script
from sklearn.metrics import roc_auc_score

from datasets.label_csv import read_csv
from errors import UserError
from reports import detection
from reports.cleaning import tabulate_cleaning
from reports.detection import (
    DEFAULT,
    FLAGGED,
    SCORES,
    Recorded,
    center,
    count_forgetting,
    judge_detection,
    tabulate_detection,
)
from reports.judging import Difference
from reports.regret import format_difference
from training.run.reader import find_runs, read_run

COUNT, EPOCHS = 200, 12
KEPT_AND_DROPPED = (("noisy", "kept"), ("alignment", "drop"))


def record(labels, rng):
    """Signals in which the first tenth of the labels look wrong, in some epochs more than in others."""
    wrong = np.arange(len(labels)) < len(labels) // 10
    names = ("alignment", "loss", "margin", "error_norm")
    signs = {"alignment": -0.1, "margin": -1.0, "loss": 1.0, "error_norm": 0.3}
    arrays = {name: signs[name] * wrong + 0.2 * abs(signs[name]) * rng.normal(size=(EPOCHS, COUNT)) for name in names}
    predictions = rng.integers(0, 4, (EPOCHS, COUNT))
    return Recorded(**arrays, predictions=predictions, labels=labels, chosen=7), wrong


def test_every_score_finds_what_is_plainly_wrong():
    rng = np.random.default_rng(0)
    recorded, wrong = record(rng.integers(0, 4, COUNT), rng)
    for name, score in SCORES.items():
        auroc = roc_auc_score(wrong, score(recorded))
        assert auroc > 0.95 or name == "forgetting events", name


def test_the_chosen_epoch_and_the_last():
    rng = np.random.default_rng(1)
    recorded, _ = record(rng.integers(0, 4, COUNT), rng)
    np.testing.assert_array_equal(SCORES["alignment, chosen epoch"](recorded), -recorded.alignment[6])
    np.testing.assert_allclose(SCORES["alignment, mean until chosen"](recorded), -recorded.alignment[:7].mean(0))
    np.testing.assert_array_equal(SCORES["loss, last epoch"](recorded), recorded.loss[-1])


def test_forgetting_by_hand():
    right = np.array([[1, 0, 1, 0], [0, 0, 1, 1], [1, 0, 1, 0], [0, 0, 1, 0]])
    recorded = Recorded(*[np.zeros((4, 4))] * 4, predictions=1 - right, labels=np.zeros(4, np.int32), chosen=1)
    np.testing.assert_array_equal(count_forgetting(recorded), [2, 4, 0, 1])


def test_centred_values_have_the_mean_zero_in_each_class():
    values, labels = np.array([1.0, 2.0, 6.0, 5.0]), np.array([0, 3, 3, 0])
    np.testing.assert_allclose(center(values, labels), [-2, -2, 2, 2])


def write_recorded_run(workdir, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, COUNT).astype(np.int32)
    recorded, wrong = record(labels, rng)
    write_run(workdir, test=[0.5] * EPOCHS, gwa=[0.1] * EPOCHS)
    clean, names = np.where(wrong, (labels + 1) % 4, labels), np.array(list("abcd"))
    np.savez(workdir / "labels.npz", labels=labels, clean_labels=clean, rows=np.arange(COUNT), class_names=names)
    np.save(workdir / "scores.npy", recorded.alignment.clip(-1, 1))
    np.save(workdir / "predictions.npy", recorded.predictions)
    for name in ("loss", "margin", "error_norm"):
        np.save(workdir / f"samples.{name}.npy", getattr(recorded, name))
    return wrong


def test_a_run_is_judged_by_its_clean_labels(tmp_path):
    wrong = write_recorded_run(tmp_path / "a", 0)
    judged = judge_detection(read_run(tmp_path / "a"))
    assert (judged["samples"], judged["wrong"]) == (COUNT, wrong.sum())
    scores = np.load(tmp_path / "a" / "scores.npy")
    assert judged["scores"]["alignment, mean"]["auroc"] == pytest.approx(roc_auc_score(wrong, -scores.mean(axis=0)))
    worst = np.argsort(scores[-1])[: wrong.sum()]
    assert judged["scores"]["alignment, last epoch"]["precision"] == pytest.approx(wrong[worst].mean())


def test_the_command_and_the_table(tmp_path, monkeypatch):
    cells = [{"labels": "worse", "augmentation": "none", "validation": 0.1, "seed": seed} for seed in range(7)]
    names = list_runs(monkeypatch, cells)
    for seed, name in enumerate(names):
        write_recorded_run(tmp_path / "regimes" / name, seed)
    write_run(tmp_path / "regimes" / "clean", test=[0.5], summary={"wrong_label_share": 0.0})
    result = run_script("judge_detection.py", tmp_path / "regimes")
    assert result.returncode == 0, result.stderr
    assert "no wrong labels are known" in result.stdout
    (tmp_path / "regimes" / "clean" / "summary.json").unlink()
    contents = [json.loads((tmp_path / "regimes" / name / "detection.json").read_text()) for name in names]
    aurocs = [[100 * content["scores"][score]["auroc"] for content in contents] for score in (DEFAULT, "loss, mean")]
    table, paired, flagging = tabulate_detection(find_runs(tmp_path))
    (row,) = (row for row in table.rows if row[0] == "loss, mean")
    assert row[1].ours.mean == pytest.approx(np.mean(aurocs[1]))
    assert row[table.columns.index("worse")].ours.n == 7
    (row,) = (row for row in paired.rows if row[0] == "loss, mean")
    assert row[1] == format_difference(Difference.of(np.subtract(*aurocs[::-1]).tolist()))
    (row,) = flagging.rows
    assert row[:2] == ("gwa.find_label_issues", "worse")
    assert [cell.ours.n for cell in row[2:]] == [7] * 4
    assert row[2].ours.mean == pytest.approx(10.0)


def test_flagged_labels_are_as_many_as_there_are_wrong_ones(tmp_path):
    wrong = write_recorded_run(tmp_path / "a", 0)
    assert run_script("judge_detection.py", tmp_path / "a", "--write").returncode == 0
    files = {path.stem: read_csv(str(path)) for path in (tmp_path / "a" / "flagged").iterdir()}
    assert files.keys() == {*FLAGGED, "random", "truth"}
    for name, file in files.items():
        assert file.flagged.sum() == wrong.sum()
        assert (name == "random") == (wrong[file.flagged].mean() < 0.5)
    np.testing.assert_array_equal(files["truth"].flagged, wrong)
    clean = np.load(tmp_path / "a" / "labels.npz")["clean_labels"]
    np.testing.assert_array_equal(files["truth"].predicted, clean)


class Cleanlab:
    """The two functions of cleanlab that are called."""

    @staticmethod
    def get_label_quality_scores(labels, pred_probs, method):
        own = pred_probs[np.arange(len(labels)), labels]
        others = np.where(np.arange(pred_probs.shape[1])[None] == labels[:, None], 0, pred_probs)
        return own if method == "self_confidence" else (own - others.max(axis=1) + 1) / 2

    @staticmethod
    def find_label_issues(labels, pred_probs, n_jobs):
        return pred_probs.argmax(axis=1) != labels


def test_probabilities_of_unseen_samples_are_judged_too(tmp_path, monkeypatch):
    """Here three quarters of the wrong labels, and no right ones, are less probable than another class."""
    wrong = write_recorded_run(tmp_path / "a", 0)
    arrays = np.load(tmp_path / "a" / "labels.npz")
    said = np.where(wrong & (np.arange(COUNT) % 4 > 0), arrays["clean_labels"], arrays["labels"])
    (tmp_path / "a" / "cross_validation").mkdir()
    np.save(tmp_path / "a" / "cross_validation" / "probabilities.npy", 0.1 + 0.6 * np.eye(4, dtype=np.float32)[said])
    assert "cleanlab" not in judge_detection(read_run(tmp_path / "a"))["flagged"]  # it has not run to its end
    (tmp_path / "a" / "cross_validation" / "result.json").write_text("{}")
    with pytest.raises(UserError, match="uv run --with cleanlab"):
        judge_detection(read_run(tmp_path / "a"))
    monkeypatch.setattr(detection, "_import_cleanlab", lambda module: Cleanlab)
    judged = judge_detection(read_run(tmp_path / "a"))
    assert judged["flagged"]["cleanlab"] == {"share": 0.075, "precision": 1.0, "recall": 0.75}
    for name in detection.CROSS_VALIDATED:
        assert judged["scores"][name]["auroc"] == pytest.approx((0.75 + 1) / 2)
    detection.write_flagged(read_run(tmp_path / "a"))
    file = read_csv(str(tmp_path / "a" / "flagged" / "cleanlab.csv"))
    np.testing.assert_array_equal(file.predicted, said)
    assert file.flagged.sum() == wrong.sum()


def test_gains_are_over_the_run_of_the_same_seed(tmp_path, monkeypatch):
    cells = [{"score": score, "clean": clean, "seed": seed} for score, clean in KEPT_AND_DROPPED for seed in (0, 1)]
    names = list_runs(monkeypatch, cells)
    for name, accuracy in zip(names, (0.7, 0.8, 0.9, 0.85), strict=True):
        choice = {"epoch": 1, "test_accuracy": accuracy}
        write_run(tmp_path / "clean_labels" / name, test=[accuracy], summary={"last": choice})
    (table,) = tabulate_cleaning(find_runs(tmp_path))
    kept, dropped = table.rows
    assert kept[2].ours.mean == pytest.approx(75.0)
    assert (dropped[0], dropped[3].ours.mean) == ("alignment", pytest.approx((20 + 5) / 2))
    assert dropped[3].ours.error == pytest.approx(7.5)


def test_what_was_not_recorded_is_named(tmp_path):
    write_recorded_run(tmp_path / "a", 0)
    (tmp_path / "a" / "samples.margin.npy").unlink()
    result = run_script("judge_detection.py", tmp_path / "a")
    assert (result.returncode, result.stdout) == (2, "")
    assert "samples.margin.npy" in result.stderr
