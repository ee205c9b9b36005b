"""The PyTorch functions against the JAX ones on the same numbers, and against per-sample gradients of torch.func."""

import subprocess
import sys

import jax
import numpy as np
import pytest
from test_alignment import MARGINS, example

import gwa

torch = pytest.importorskip("torch")
gwa_torch = pytest.importorskip("gwa.torch")

SIGNED = sorted({sign * margin for margin in MARGINS for sign in (-1, 1)})
JAX_ALIGNMENT, JAX_GRADIENT_NORM = jax.jit(gwa.head_alignment), jax.jit(gwa.head_gradient_norm)
pytestmark = pytest.mark.torch


def case(margin, classes, soft, with_bias=True, scale=1.0):
    """NumPy arguments of head_alignment; soft: a tenth of each target is spread over all classes."""
    logits, labels, embeddings, kernel, bias = example(margin, classes, with_bias, scale)
    targets = 0.9 * np.eye(classes, dtype=np.float32)[labels] + np.float32(0.1 / classes) if soft else labels
    return logits, targets, embeddings, kernel, bias


def tensors(arrays):
    return [None if array is None else torch.from_numpy(np.asarray(array)) for array in arrays]


@pytest.mark.parametrize("classes", [2, 10, 1000])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("margin", SIGNED)
def test_alignment_equals_that_of_jax(margin, soft, classes):
    for with_bias, scale in ((True, 1.0), (False, 1e6), (True, 1e-6)):
        arguments = case(margin, classes, soft, with_bias, scale)
        alignment = gwa_torch.head_alignment(*tensors(arguments))
        assert alignment.dtype == torch.float32
        np.testing.assert_allclose(alignment, JAX_ALIGNMENT(*arguments), rtol=0, atol=1e-6)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("margin", SIGNED)
def test_gradient_norm_equals_that_of_jax(margin, soft):
    arguments = case(margin, 10, soft)[:3]
    expected = JAX_GRADIENT_NORM(*arguments)
    np.testing.assert_allclose(gwa_torch.head_gradient_norm(*tensors(arguments)), expected, rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("margin", SIGNED)
def test_alignment_is_the_cosine_of_the_gradient_of_torch_func(margin, soft):
    """In float64, where log(1 + e^(rest − own)) is the cross-entropy whose derivative is resolved at these margins."""
    _, labels, embeddings, kernel, bias = tensors(case(margin, 10, soft))

    def loss(weight, embedding, target):
        logits = embedding @ weight + bias.double()
        if soft:
            return -(target * logits.log_softmax(-1)).sum()
        one_hot = torch.arange(10) == target
        rest = torch.where(one_hot, -torch.inf, logits).logsumexp(-1)
        gap = rest - torch.where(one_hot, logits, 0).sum()
        # The cross-entropy rises with the gap; where its slope is below float64, the gap itself has the same direction.
        return gap if margin == 1000 else torch.logaddexp(torch.zeros_like(gap), gap)

    weight = kernel.double()
    gradients = -torch.func.vmap(torch.func.grad(loss), (None, 0, 0))(weight, embeddings.double(), labels)
    lengths = gradients.flatten(1).norm(dim=1) * weight.norm()
    expected = (gradients * weight).sum((1, 2)) / lengths
    logits = (embeddings.double() @ weight + bias.double()).float()
    np.testing.assert_allclose(
        gwa_torch.head_alignment(logits, labels, embeddings, kernel, bias), expected, rtol=0, atol=1e-6
    )


def test_alignment_is_float32_under_autocast_and_keeps_no_graph():
    logits, labels, embeddings, kernel, bias = tensors(case(20, 10, soft=False))
    logits.requires_grad_()
    expected = gwa_torch.head_alignment(logits, labels, embeddings, kernel, bias)
    with torch.autocast("cpu", torch.bfloat16):
        alignment = gwa_torch.head_alignment(logits, labels, embeddings, kernel, bias)
        moments = gwa_torch.Moments.of(alignment) + gwa_torch.Moments.of(alignment)
    assert not alignment.requires_grad
    assert moments.sums.dtype == torch.float32
    torch.testing.assert_close(alignment, expected, rtol=0, atol=0)


def test_half_precision_is_computed_in_float32():
    arguments = tensors(case(5, 10, soft=False))
    halves = [x.bfloat16() if x.is_floating_point() else x for x in arguments]
    expected = gwa_torch.head_alignment(*(x.float() if x.is_floating_point() else x for x in halves))
    torch.testing.assert_close(gwa_torch.head_alignment(*halves), expected, rtol=0, atol=0)


def test_tokens_are_samples():
    arguments = tensors(case(5, 10, soft=False))
    expected = gwa_torch.head_alignment(*arguments)
    logits, labels, embeddings, kernel, bias = arguments
    tokens = gwa_torch.head_alignment(
        logits.reshape(2, 3, 10), labels.reshape(2, 3), embeddings.reshape(2, 3, -1), kernel, bias
    )
    torch.testing.assert_close(tokens, expected.reshape(2, 3), rtol=0, atol=0)


def test_zeros_have_alignment_zero():
    logits, labels, embeddings, kernel, bias = tensors(case(5, 10, soft=False))
    assert not gwa_torch.head_alignment(logits, labels, embeddings, 0 * kernel, bias).any()
    assert not gwa_torch.head_alignment(logits, labels, 0 * embeddings, kernel, bias).any()


@pytest.mark.parametrize("wrong", ["labels", "embeddings", "kernel", "bias"])
def test_shapes_that_do_not_fit_are_named(wrong):
    names = ("logits", "labels", "embeddings", "kernel", "bias")
    arguments = dict(zip(names, tensors(case(5, 10, soft=False)), strict=True))
    arguments[wrong] = arguments[wrong][:-1]
    with pytest.raises(ValueError, match=r"must be \("):
        gwa_torch.head_alignment(**arguments)
    if wrong in ("labels", "embeddings"):
        with pytest.raises(ValueError, match=r"must be \("):
            gwa_torch.head_gradient_norm(*(arguments[name] for name in ("logits", "labels", "embeddings")))


@pytest.mark.parametrize("batches", [1, 7, 400])
@pytest.mark.parametrize("offset", [0.0, 0.9])
def test_moments_equal_those_of_jax_and_float64(batches, offset):
    scores = (offset + 0.05 * np.random.default_rng(0).standard_normal(8000)).astype(np.float32)
    mask = np.arange(8000) % 5 > 0
    ours, theirs = gwa_torch.Moments.of(torch.zeros(0)), gwa.Moments.of([])
    of, add = jax.jit(gwa.Moments.of), jax.jit(lambda a, b: a + b)
    for part, where in zip(np.array_split(scores, batches), np.array_split(mask, batches), strict=True):
        ours += gwa_torch.Moments.of(torch.from_numpy(part), where=torch.from_numpy(where))
        theirs = add(theirs, of(part, where))
    exact = scores[mask].astype(np.float64)
    central = [((exact - exact.mean()) ** order).sum() for order in (2, 3, 4)]
    kurtosis = len(exact) * central[2] / central[0] ** 2 - 3
    for moments, gwa_score in ((ours, gwa_torch.gwa_score), (theirs, gwa.gwa_score)):
        values = (moments.count, moments.mean, moments.variance, moments.excess_kurtosis, gwa_score(moments))
        expected = (len(exact), exact.mean(), exact.var(), kurtosis, exact.mean() / (kurtosis + 1.2))
        np.testing.assert_allclose([float(value) for value in values], expected, rtol=3e-6, atol=1e-6)
    for name in ("count", "mean", "variance", "excess_kurtosis"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-6, atol=1e-6)


def test_two_peaks_have_no_score_and_equal_scores_no_kurtosis():
    moments = gwa_torch.Moments.of(torch.tensor([-1.0, 1.0]).repeat(50) + 0.2)
    assert gwa_torch.gwa_score(moments).isnan()
    assert gwa_torch.Moments.of(torch.full((5,), 0.3)).excess_kurtosis.isnan()


def test_neither_imports_the_other():
    run_python("import gwa, sys; assert 'torch' not in sys.modules")
    run_python("import gwa.torch, sys; assert 'jax' not in sys.modules")


def run_python(code):
    subprocess.run([sys.executable, "-c", f"import sys; sys.path.insert(0, 'src'); {code}"], check=True)
