"""Recorded values of samples against SciPy, and against what the same run records otherwise."""

import jax.numpy as jnp
import numpy as np
import scipy.special
from small_runs import cut_off, files, small

from training import loop
from training.sample_values import NAMES, measure_samples


def test_the_values_by_hand():
    logits = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    labels = np.array([0, 1, 2, 3, 0, 1])
    targets = 0.9 * np.eye(4, dtype=np.float32)[labels] + 0.025
    losses = jnp.arange(6.0)
    values = measure_samples(NAMES, logits, targets, labels, losses)
    assert list(values) == ["samples/loss", "samples/margin", "samples/error_norm"]
    np.testing.assert_array_equal(values["samples/loss"], losses)
    others = [max(np.delete(row, label)) for row, label in zip(logits, labels, strict=True)]
    np.testing.assert_allclose(values["samples/margin"], logits[np.arange(6), labels] - others, rtol=1e-5)
    residuals = scipy.special.softmax(logits, axis=-1) - targets
    np.testing.assert_allclose(values["samples/error_norm"], np.linalg.norm(residuals, axis=-1), rtol=1e-5)


def test_a_run_records_them_in_row_order(tmp_path):
    options = {"record": NAMES, "batch_size": 64, "steps_per_dispatch": 1, "checkpoint_steps": 2}
    loop.train(small(epochs=2, **options), tmp_path / "whole")
    history, _, predictions = files(tmp_path / "whole")
    loss, margin, error = (np.load(tmp_path / "whole" / f"samples.{name}.npy") for name in NAMES)
    labels = np.load(tmp_path / "whole" / "labels.npz")["labels"]
    assert loss.shape == margin.shape == error.shape == predictions.shape
    np.testing.assert_array_equal(margin > 0, predictions == labels)
    # With probability p of the label, the loss is −log p, and ‖p − y‖ lies between 1 − p and √2 (1 − p).
    missing = -np.expm1(-loss.astype(np.float64))
    assert np.all(error >= missing - 1e-5)
    assert np.all(error <= np.sqrt(2) * missing + 1e-5)
    np.testing.assert_allclose(loss.mean(axis=1), [record["train_loss"] for record in history], rtol=1e-4)
    with cut_off(after=7):  # of 10 steps
        loop.train(small(epochs=2, **options), tmp_path / "cut")
    loop.train(small(epochs=2, **options), tmp_path / "cut")
    np.testing.assert_array_equal(np.load(tmp_path / "cut" / "samples.margin.npy"), margin)
