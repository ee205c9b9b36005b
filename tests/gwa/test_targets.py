"""Alignment and gradient norm for target distributions, against decimal arithmetic with digits enough to subtract."""

import decimal

import jax
import numpy as np
import pytest
from test_alignment import example

import gwa

MARGINS = (0, 5, 12, 20, 60, 80, 88, 104, 1000)
EPSILON = 2.0**-24


def targets_of(labels, classes):
    """By name, targets float32 `[batch, classes]`."""
    one_hot = np.eye(classes)[labels]
    other = np.eye(classes)[(labels + 1) % classes]
    mixed = 0.6 * one_hot + 0.4 * other
    kinds = {
        "one-hot": one_hot,
        "smoothed": 0.9 * one_hot + 0.1 / classes,
        "mixed": mixed,
        "hardly mixed": (1 - 1e-6) * one_hot + 1e-6 * other,
        "mixed and smoothed": 0.9 * mixed + 0.1 / classes,
    }
    return {name: targets.astype(np.float32) for name, targets in kinds.items()}


class Exact:
    """What the formula gives for one batch of float32 numbers; the softmax does not depend on the targets."""

    def __init__(self, logits, embeddings, kernel, bias):
        decimal.getcontext().prec = 60 + int(np.ptp(logits) * 0.45)  # e^−ptp, and 60 digits below it
        self.lengths = np.linalg.norm(embeddings.astype(float), axis=-1)
        self.kernel_length = np.linalg.norm(kernel.astype(float))
        self.logits = [to_decimals(row) for row in logits]
        offsets = to_decimals(np.zeros_like(logits[0]) if bias is None else bias)
        self.products = [[a - b for a, b in zip(row, offsets, strict=True)] for row in self.logits]
        self.exponentials = [[(x - max(row)).exp() for x in row] for row in self.logits]

    def scores(self, targets):
        """Alignments and gradient norms, float64 `[batch]` each, and how far the targets are from being fitted."""
        results = []
        for products, exponentials, target in zip(self.products, self.exponentials, targets, strict=True):
            target, total = to_decimals(target), sum(exponentials)
            scale = sum(target)
            residual = [t - scale * e / total for t, e in zip(target, exponentials, strict=True)]
            length = sum(d * d for d in residual).sqrt()
            cosine = sum(d * u for d, u in zip(residual, products, strict=True)) / length if length else 0
            results.append((float(cosine), float(length)))
        cosines, lengths = np.array(results).T
        return cosines / self.lengths / self.kernel_length, lengths * self.lengths, lengths


def to_decimals(row):
    return [decimal.Decimal(float(x)) for x in row]


@pytest.fixture(params=["jax", pytest.param("torch", marks=pytest.mark.torch)])
def library(request):
    """`head_alignment` and `head_gradient_norm` on NumPy arrays."""
    if request.param == "jax":
        return jax.jit(gwa.head_alignment), jax.jit(gwa.head_gradient_norm)
    torch = pytest.importorskip("torch")
    gwa_torch = pytest.importorskip("gwa.torch")

    def on_arrays(function):
        return lambda *arrays: function(*(None if a is None else torch.from_numpy(np.asarray(a)) for a in arrays))

    return on_arrays(gwa_torch.head_alignment), on_arrays(gwa_torch.head_gradient_norm)


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_targets_at_all_margins(library, classes):
    alignment, gradient_norm = library
    for margin in MARGINS if classes < 1000 else (20, 80):
        for sign in (1, -1):
            logits, labels, *rest = example(sign * margin, classes, True, batch=4 if classes < 1000 else 1)
            exact = Exact(logits, *rest)
            for name, targets in targets_of(labels, classes).items():
                cosines, norms, _ = exact.scores(targets)
                np.testing.assert_allclose(
                    alignment(logits, targets, *rest), cosines, rtol=0, atol=4e-7, err_msg=f"{name}, {sign * margin}"
                )
                # The norm of a gradient e^−margin is as exact as an exponent of this size in float32 is.
                np.testing.assert_allclose(
                    gradient_norm(logits, targets, rest[0]), norms, rtol=1e-6 + 2 * margin * EPSILON, atol=1e-37
                )


def test_one_hot_targets_are_labels(library):
    alignment, gradient_norm = library
    for margin in (*MARGINS, -20):
        logits, labels, embeddings, kernel, bias = example(margin, 10, True)
        targets = np.eye(10, dtype=np.float32)[labels]
        hard, soft = (np.asarray(alignment(logits, y, embeddings, kernel, bias)) for y in (labels, targets))
        np.testing.assert_allclose(soft, hard, rtol=2e-6, atol=1e-8)
        hard, soft = (np.asarray(gradient_norm(logits, y, embeddings)) for y in (labels, targets))
        np.testing.assert_allclose(soft, hard, rtol=2e-5, atol=1e-37)


def test_targets_that_are_fitted(library):
    """Near p = t the difference is what float32 resolves of the logits, and no more is asked for."""
    alignment, _ = library
    rng = np.random.default_rng(0)
    _, labels, embeddings, kernel, _ = example(5, 10, False, batch=20)
    targets = targets_of(labels, 10)["smoothed"]
    for distance in (1e-1, 1e-3, 1e-5):
        logits = (np.log(targets) + distance * rng.standard_normal(targets.shape)).astype(np.float32)
        cosines, _, residuals = Exact(logits, embeddings, kernel, None).scores(targets)
        # |u| is not that of these embeddings and this kernel, whose norms only scale the score.
        largest = np.abs(logits).max() / np.linalg.norm(embeddings, axis=-1) / np.linalg.norm(kernel)
        error = np.abs(np.asarray(alignment(logits, targets, embeddings, kernel)) - cosines)
        assert np.all(error < 1e-6 + 40 * EPSILON * largest / residuals)


def test_targets_of_another_sum_have_the_gradient_of_the_cross_entropy(library):
    """−Σ t log p of t that sums to 3, and of t that sums to 0."""
    alignment, gradient_norm = library
    logits, labels, embeddings, kernel, bias = example(5, 10, True)
    targets = targets_of(labels, 10)["smoothed"]
    expected, norms = alignment(logits, targets, embeddings, kernel, bias), gradient_norm(logits, targets, embeddings)
    tripled = alignment(logits, 3 * targets, embeddings, kernel, bias)
    np.testing.assert_allclose(tripled, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient_norm(logits, 3 * targets, embeddings), 3 * np.asarray(norms), rtol=1e-6)
    assert np.isnan(np.asarray(alignment(logits, 0 * targets, embeddings, kernel, bias))).all()
