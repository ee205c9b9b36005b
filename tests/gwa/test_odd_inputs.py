"""What is not defined is NaN, is counted, and leaves an epoch without GWA: the same in JAX and in PyTorch."""

import math
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from test_alignment import example

import gwa
from gwa.moment_arithmetic import reasons_of_nan
from gwa.rules import dissent

CLASSES, BATCH = 10, 50


def on_tensors(function):
    """The PyTorch function on NumPy arrays."""
    torch = pytest.importorskip("torch")
    return lambda *arrays: function(*(None if a is None else torch.from_numpy(np.asarray(a)) for a in arrays)).numpy()


@pytest.fixture(params=["jax", "jit", pytest.param("torch", marks=pytest.mark.torch)])
def library(request):
    if request.param == "torch":
        ours = pytest.importorskip("gwa.torch")
        torch = pytest.importorskip("torch")
        return SimpleNamespace(
            alignment=on_tensors(ours.head_alignment),
            gradient_norm=on_tensors(ours.head_gradient_norm),
            dissent=on_tensors(ours.sample_dissent),
            moments=lambda scores, where=None: ours.Moments.of(
                torch.tensor(scores), None if where is None else torch.tensor(where)
            ),
            join=lambda moments, scores: moments + ours.Moments.of(torch.tensor(scores)),
            score=ours.gwa_score,
        )
    compile_or_not = jax.jit if request.param == "jit" else lambda function: function
    return SimpleNamespace(
        alignment=compile_or_not(gwa.head_alignment),
        gradient_norm=compile_or_not(gwa.head_gradient_norm),
        dissent=compile_or_not(dissent.sample_dissent),
        moments=compile_or_not(gwa.Moments.of),
        join=compile_or_not(lambda moments, scores: moments + gwa.Moments.of(scores)),
        score=gwa.gwa_score,
    )


def summarize(library, moments):
    return {
        "gwa": float(library.score(moments)),
        "alignment_mean": float(moments.mean),
        "alignment_variance": float(moments.variance),
        "excess_kurtosis": float(moments.excess_kurtosis),
        "non_finite_alignments": int(moments.non_finite),
    }


ROWS = np.arange(BATCH) < 10


# Where which argument has which value: in the first ten rows or in the first column, which is a class.
FAULTS = {
    "NaN logits": {"logits": (ROWS, np.nan)},
    "NaN logits of zeros": {"logits": (ROWS, np.nan), "embeddings": (ROWS, 0)},
    "one infinite logit": {"logits": ((ROWS, 0), np.inf)},
    "one logit of minus infinity": {"logits": ((ROWS, 0), -np.inf)},
    "logits that overflow": {"logits": (ROWS, [3e38, -3e38] * 5)},
    "infinite embeddings": {"embeddings": (ROWS, np.inf)},
    "NaN embeddings": {"embeddings": (ROWS, np.nan)},
    "an infinite bias": {"logits": (np.s_[:, 0], np.inf), "bias": (0, np.inf)},
    "an infinite weight": {"kernel": (0, np.inf)},
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("soft", [False, True])
def test_what_is_not_finite_has_no_score(library, fault, soft):
    logits, labels, *rest = example(5, CLASSES, True, batch=BATCH)
    targets = 0.9 * np.eye(CLASSES, dtype=np.float32)[labels] + np.float32(0.01) if soft else labels
    before = np.asarray(library.alignment(logits, targets, *rest))
    arguments = dict(zip(("logits", "embeddings", "kernel", "bias"), (logits, *rest), strict=True))
    for name, (where, value) in FAULTS[fault].items():
        arguments[name][where] = value
    broken = ROWS | ("bias" in FAULTS[fault] or "kernel" in FAULTS[fault])
    logits, *rest = arguments.values()
    alignment = np.asarray(library.alignment(logits, targets, *rest))
    assert np.isnan(alignment[broken]).all()
    np.testing.assert_allclose(alignment[~broken], before[~broken], rtol=1e-6)
    moments = library.moments(alignment) + library.moments(before)
    assert (int(moments.count), int(moments.non_finite)) == (2 * BATCH, broken.sum())
    record = summarize(library, moments)
    assert math.isnan(record["gwa"])
    assert reasons_of_nan(record)["gwa"] == f"{broken.sum()} of the alignments are not finite"
    history = [{"epoch": 1, "progress": 1.0, **record}]
    for rule in (gwa.MaxGWA(), gwa.MinThenMaxGWA(), gwa.RULES["max_bounded_gwa"]()):
        assert rule.select(history) is None


@pytest.mark.parametrize("label", [-100, -1, CLASSES, 255])
def test_labels_that_are_no_class(library, label):
    logits, labels, *rest = example(5, CLASSES, True, batch=BATCH)
    before = np.asarray(library.alignment(logits, labels, *rest))
    norms = np.asarray(library.gradient_norm(logits, labels, rest[0]))
    labels = np.where(ROWS, label, labels)
    for function, arguments, expected in (
        (library.alignment, rest, before),
        (library.gradient_norm, rest[:1], norms),
    ):
        values = np.asarray(function(logits, labels, *arguments))
        assert np.isnan(values[ROWS]).all()
        np.testing.assert_array_equal(values[~ROWS], expected[~ROWS])
    past = np.full(BATCH, 3)
    np.testing.assert_array_equal(np.isnan(library.dissent(logits, past, labels)), ROWS)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int64])
def test_labels_of_any_integer_dtype(library, dtype):
    """300 classes have numbers beyond 8 bits."""
    logits, _, *rest = example(5, 300, True)
    labels = np.array([0, 1, 43, 44, 45, 100])
    expected = library.alignment(logits, labels.astype(np.int32), *rest)
    np.testing.assert_array_equal(library.alignment(logits, labels.astype(dtype), *rest), expected)
    assert len(set(np.asarray(expected).tolist())) == 6


def test_a_mask_has_the_shape_of_the_scores_or_broadcasts_to_it(library):
    scores = np.array([[0.1, 0.2, 0.3]] * 2, np.float32)
    assert int(library.moments(scores, where=np.array([[True], [False]])).count) == 3
    assert int(library.moments(scores, where=np.array(True)).count) == 6
    assert float(library.moments(scores).mean) == pytest.approx(0.2)
    with pytest.raises((ValueError, RuntimeError)):
        library.moments(scores, where=np.array([True, False]))


def test_a_negative_target_has_no_score(library):
    logits, embeddings, kernel = (np.eye(3, dtype=np.float32),) * 3
    targets = np.array([[1.5, -0.25, -0.25], [0, -1, 0], [0, 0.4, 0.6]], np.float32)
    assert np.isnan(library.alignment(logits, targets, embeddings, kernel)).tolist() == [True, True, False]


def test_labels_beyond_32_bits_are_no_class():
    logits = embeddings = kernel = np.eye(3, dtype=np.float32)
    labels = np.array([0, 2**32 + 1, -(2**40)])
    assert np.isnan(gwa.head_alignment(logits, labels, embeddings, kernel)).tolist() == [False, True, True]


def test_masked_scores_do_not_count():
    scores = np.array([0.1, np.nan, 0.4, 0.2, 0.9], np.float32)
    moments = gwa.Moments.of(scores, where=np.isfinite(scores))
    assert (int(moments.count), int(moments.non_finite)) == (4, 0)
    assert math.isfinite(gwa.gwa_score(moments))


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ([], "there are no alignments"),
        ([0.25] * 8, "the variance of the alignments is 0"),
        ([0.0] * 8, "the variance of the alignments is 0"),
        ([1e-12, -2e-12] * 8, "is too small to measure a kurtosis"),
        ([-0.5, 0.5] * 8, "excess kurtosis -2.000 + 1.2 is not positive"),
        ([0.1, np.inf] * 8, "8 of the alignments are not finite"),
    ],
)
def test_reasons_are_what_the_numbers_show(library, scores, reason):
    record = summarize(library, library.moments(np.array(scores, np.float32)))
    assert math.isnan(record["gwa"])
    assert reason in reasons_of_nan(record)["gwa"]


@pytest.mark.parametrize("value", [0.3, 0.1, -0.7123, 0.999])
def test_equal_scores_in_many_batches_have_no_kurtosis(library, value):
    """Their variance is rounding, and must not become a score."""
    moments = library.moments(np.zeros(0, np.float32))
    for size in (7, 64, 64, 3, 64, 64, 17, 64):
        moments = library.join(moments, np.full(size, value, np.float32))
    record = summarize(library, moments)
    assert math.isnan(record["gwa"])
    assert record["alignment_variance"] < 1e-15
    assert "variance" in reasons_of_nan(record)["gwa"]


def test_a_defined_score_has_no_reason(library):
    record = summarize(library, library.moments(np.array([0.1, 0.2, 0.2, 0.3], np.float32)))
    assert reasons_of_nan(record) == {}
