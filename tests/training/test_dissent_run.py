"""Dissent in whole runs: its records follow from the predictions, and being cut off changes nothing."""

import json

import image_folder
import numpy as np
import pytest
from small_runs import cut_off, small

from configs import base
from gwa.rules.dissent import measure_hard_dissent, vote
from training import loop

RULES = ("max_gwa", "dissent", "hard_dissent")
FIELDS = ("dissent", "hard_dissent")


def read(workdir):
    history = [json.loads(line) for line in (workdir / "history.jsonl").read_text().splitlines()]
    return history, np.load(workdir / "predictions.npy"), np.load(workdir / "labels.npz")["labels"]


def check_records(workdir, num_classes):
    history, predictions, labels = read(workdir)
    assert [history[0][field] for field in FIELDS] == [None, None]
    for i, record in enumerate(history[1:], start=1):
        past = vote(predictions[:i], num_classes)
        assert record["hard_dissent"] == pytest.approx(measure_hard_dissent(predictions[i], past, labels), abs=1e-9)
        # Probabilities lie between the certain predictions and none: |p(past) − p(label)| < 1.
        assert abs(record["dissent"]) <= np.mean((past >= 0) & (past != labels))
    assert any(record["dissent"] not in (0, record["hard_dissent"]) for record in history[1:])


def test_a_run_that_was_cut_off_within_an_epoch_has_the_same_records(tmp_path):
    options = {"stopping.rules": RULES, "batch_size": 64, "steps_per_dispatch": 1, "checkpoint_steps": 3}
    options |= {"optimizer.accumulation_steps": 2, "augment.pad": 1}
    summary = loop.train(small(epochs=4, **options), tmp_path / "whole")
    check_records(tmp_path / "whole", 10)
    assert not (tmp_path / "whole" / "scores.dissent.npy").exists()
    with cut_off(after=13):  # of 20 steps; 5 are an epoch
        loop.train(small(epochs=4, **options), tmp_path / "cut")
    assert loop.train(small(epochs=4, **options), tmp_path / "cut")["rules"]["dissent"] == summary["rules"]["dissent"]
    (history, *_), (expected, *_) = read(tmp_path / "cut"), read(tmp_path / "whole")
    assert [[record[field] for field in FIELDS] for record in history] == [
        [record[field] for field in FIELDS] for record in expected
    ]


def test_the_scores_are_those_of_a_run_without_it(tmp_path):
    loop.train(small(epochs=2, **{"stopping.rules": RULES}), tmp_path / "with")
    loop.train(small(epochs=2), tmp_path / "without")
    np.testing.assert_allclose(
        np.load(tmp_path / "with" / "scores.npy"), np.load(tmp_path / "without" / "scores.npy"), atol=1e-6
    )
    assert not set(FIELDS) & read(tmp_path / "without")[0][0].keys()


def test_streamed_images_and_one_that_is_skipped(tmp_path):
    image_folder.write(tmp_path / "images")
    (tmp_path / "images" / "train" / "n01" / "0.jpg").write_bytes(b"")
    config = base.get_config()
    config.epochs, config.batch_size, config.eval_batch_size = 4, 4, 4
    config.dataset.update({"name": "folder", "path": str(tmp_path / "images"), "feed": "stream", "image_size": 24})
    config.dataset.stream.update({"resize": 28, "damaged": "skip"})
    config.dataset.label_noise.update({"kind": "symmetric", "rate": 0.4})
    config.network.update({"name": "convnextv2", "patch_size": 4, "kernel_size": 3, "depths": (1,), "widths": (8,)})
    config.stopping.rules = RULES
    loop.train(config, tmp_path / "run")
    check_records(tmp_path / "run", 3)
