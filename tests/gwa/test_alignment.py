"""`head_alignment` against the cosine of the autodiff gradient in float64, and beyond its range in 80 bits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gwa import head_alignment, head_gradient_norm
from gwa.alignment import prediction_entropy

if hasattr(jax, "enable_x64"):
    enable_x64 = jax.enable_x64
else:  # JAX before 0.8
    from jax.experimental import enable_x64

MARGINS = (0, 5, 10, 15, 20, 50, 200, 1000)
FEATURES = 12


def example(margin, classes, with_bias, scale=1.0, batch=6, seed=0):
    """A head and embeddings whose logits `z·W` have exactly this margin between the label and the next class.

    Scaling the embeddings by `scale` and the kernel by its inverse changes neither logits nor alignment.
    """
    rng = np.random.default_rng([seed, classes, abs(margin), margin > 0, with_bias])
    kernel = rng.standard_normal((FEATURES, classes))
    bias = rng.standard_normal(classes).astype(np.float32) if with_bias else None
    labels = rng.integers(0, classes, batch)
    embeddings = rng.standard_normal((batch, FEATURES))
    for i, label in enumerate(labels):
        # Up to three other classes are held at the margin, the nearest rival among them.
        rivals = np.argsort(-(embeddings[i] @ kernel) + np.where(np.arange(classes) == label, np.inf, 0))[:3]
        directions = kernel[:, [label]] - kernel[:, rivals[: classes - 1]]
        wanted = margin + np.arange(directions.shape[1]) * 0.5
        embeddings[i] += np.linalg.pinv(directions.T) @ (wanted - embeddings[i] @ directions)
    embeddings = (embeddings * scale).astype(np.float32)
    kernel = (kernel / scale).astype(np.float32)
    logits = embeddings.astype(np.float64) @ kernel.astype(np.float64) + (0 if bias is None else bias)
    return logits.astype(np.float32), labels, embeddings, kernel, bias


def autodiff_alignment(loss, embeddings, kernel, bias, targets):
    """cos(−∂loss/∂W, W) per sample, in float64, by autodiff through the linear head."""
    bias = np.zeros(kernel.shape[1]) if bias is None else bias
    with enable_x64(True):
        exact = [jnp.asarray(x, jnp.float64) for x in (embeddings, kernel, bias)]
        return np.asarray(_autodiff_alignment(loss, *exact, jnp.asarray(targets)))


@functools.partial(jax.jit, static_argnums=0)
def _autodiff_alignment(loss, embeddings, kernel, bias, targets):
    def one(embedding, target):
        gradient = -jax.grad(lambda kernel: loss(embedding @ kernel + bias, target))(kernel)
        return jnp.vdot(gradient, kernel) / (jnp.linalg.norm(gradient) * jnp.linalg.norm(kernel))

    return jax.vmap(one)(embeddings, targets)


def hard_loss(logits, label):
    """Cross-entropy as log(1 + e^(rest − own)): the same function, whose derivative float64 resolves at any margin."""
    own = logits[label]
    rest = jax.nn.logsumexp(jnp.where(jnp.arange(len(logits)) == label, -jnp.inf, logits))
    return jnp.logaddexp(0.0, rest - own)


def soft_loss(logits, target):
    return -jnp.sum(target * jax.nn.log_softmax(logits))


def extended_alignment(labels, embeddings, kernel, bias):
    """The same cosine written out in 80-bit arithmetic, whose exponents reach far below e^−1000."""
    z, w = embeddings.astype(np.longdouble), kernel.astype(np.longdouble)
    logits = z @ w + (0 if bias is None else bias.astype(np.longdouble))
    alignments = []
    for i, label in enumerate(labels):
        probabilities = np.exp(logits[i] - logits[i].max())
        probabilities /= probabilities.sum()
        residual = -probabilities
        residual[label] = np.delete(probabilities, label).sum()
        gradient = np.outer(z[i], residual)
        alignments.append((gradient * w).sum() / np.sqrt((gradient**2).sum() * (w**2).sum()))
    return np.array(alignments, np.float64)


def assert_accurate(actual, expected):
    actual = np.asarray(actual, np.float64)
    assert np.abs(actual - expected).max() < 1e-6
    large = np.abs(expected) > 0.02
    assert np.all(np.abs(actual - expected)[large] < 1e-5 * np.abs(expected)[large])


@pytest.mark.parametrize("classes", [2, 3, 10, 1000, 21_841])
@pytest.mark.parametrize("with_bias", [False, True])
def test_integer_labels(classes, with_bias):
    for margin in {sign * margin for margin in MARGINS for sign in (1, -1)}:
        logits, labels, embeddings, kernel, bias = example(margin, classes, with_bias)
        expected = (
            extended_alignment(labels, embeddings, kernel, bias)
            if margin == 1000  # e^−1000 is 0 in float64
            else autodiff_alignment(hard_loss, embeddings, kernel, bias, labels)
        )
        assert_accurate(head_alignment(logits, labels, embeddings, kernel, bias), expected)


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1e3, 1e6])
@pytest.mark.parametrize("with_bias", [False, True])
def test_scaled_embeddings(scale, with_bias):
    for margin in (0, 5, 20, -20, 200):
        logits, labels, embeddings, kernel, bias = example(margin, 10, with_bias, scale)
        expected = autodiff_alignment(hard_loss, embeddings, kernel, bias, labels)
        assert_accurate(head_alignment(logits, labels, embeddings, kernel, bias), expected)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_norms_neither_overflow_nor_vanish(scale):
    logits, labels, embeddings, kernel, _ = example(5, 10, False)
    expected = head_alignment(logits, labels, embeddings, kernel)
    scaled = head_alignment(logits, labels, embeddings * np.float32(scale), kernel / np.float32(scale))
    np.testing.assert_allclose(scaled, expected, rtol=1e-5)


def test_the_textbook_residual_would_not_pass():
    """softmax − one-hot in float32 is off by far more than the tolerance above as soon as a sample is fitted."""
    for margin in (15, 20, 50):
        logits, labels, embeddings, kernel, _ = example(margin, 10, False)
        residual = jax.nn.one_hot(labels, 10) - jax.nn.softmax(logits)
        norms = jnp.linalg.norm(embeddings, axis=-1) * jnp.linalg.norm(kernel) * jnp.linalg.norm(residual, axis=-1)
        textbook = np.asarray(jnp.sum(residual * logits, axis=-1) / norms)
        expected = autodiff_alignment(hard_loss, embeddings, kernel, None, labels)
        assert not np.abs(textbook - expected).max() < 1e-5


@pytest.mark.parametrize("classes", [2, 10, 1000])
@pytest.mark.parametrize("with_bias", [False, True])
def test_soft_targets(classes, with_bias):
    for margin in (0, 5, 10, 20, -5, -20, -200):
        logits, labels, embeddings, kernel, bias = example(margin, classes, with_bias)
        one_hot = np.eye(classes, dtype=np.float32)[labels]
        for targets in (
            0.7 * one_hot + 0.3 * np.roll(one_hot, 1, axis=0),
            0.9 * one_hot + np.float32(0.1 / classes),
            one_hot,
        ):
            targets = targets / targets.astype(np.float64).sum(-1, keepdims=True)
            expected = autodiff_alignment(soft_loss, embeddings, kernel, bias, targets)
            assert_accurate(head_alignment(logits, targets.astype(np.float32), embeddings, kernel, bias), expected)


def test_leading_axes_are_free():
    logits, labels, embeddings, kernel, bias = example(5, 10, True)
    flat = head_alignment(logits, labels, embeddings, kernel, bias)
    grid = head_alignment(
        logits.reshape(2, 3, 10), labels.reshape(2, 3), embeddings.reshape(2, 3, FEATURES), kernel, bias
    )
    assert np.array_equal(np.asarray(grid), np.asarray(flat).reshape(2, 3))
    alone = head_alignment(logits[0], labels[0], embeddings[0], kernel, bias)
    np.testing.assert_allclose(alone, flat[0], rtol=1e-6)
    np.testing.assert_allclose(
        jax.jit(jax.vmap(head_alignment, (0, 0, 0, None, None)))(logits, labels, embeddings, kernel, bias),
        flat,
        rtol=1e-6,
    )


def test_zeros_have_alignment_zero():
    logits, labels, embeddings, kernel, _ = example(5, 10, False)
    assert not np.any(head_alignment(np.zeros_like(logits), labels, np.zeros_like(embeddings), kernel))
    assert not np.any(head_alignment(np.zeros_like(logits), labels, embeddings, np.zeros_like(kernel)))
    targets = np.eye(10, dtype=np.float32)[labels]
    assert not np.any(head_alignment(np.zeros_like(logits), targets, embeddings, np.zeros_like(kernel)))


def test_the_arithmetic_is_float32():
    logits, labels, embeddings, kernel, bias = example(5, 10, True)
    low = [jnp.asarray(x, jnp.bfloat16) for x in (logits, embeddings, kernel, bias)]
    alignment = head_alignment(low[0], labels, *low[1:])
    exact = head_alignment(
        *(np.asarray(x, np.float32) for x in low[:1]), labels, *(np.asarray(x, np.float32) for x in low[1:])
    )
    assert alignment.dtype == jnp.float32
    assert np.array_equal(alignment, exact)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.zeros(5, int)}, r"labels must be \(6,\) beside logits \(6, 10\), not \(5,\)"),
        ({"labels": np.zeros((6, 9), np.float32)}, r"labels must be \(6, 10\) .* not \(6, 9\)"),
        ({"embeddings": np.zeros((6, 11), np.float32)}, r"kernel must be \(11, 10\) .* not \(12, 10\)"),
        ({"embeddings": np.zeros((1, FEATURES), np.float32)}, r"embeddings must be \(6, 12\) .* not \(1, 12\)"),
        ({"kernel": np.zeros((10, FEATURES), np.float32)}, r"kernel must be \(12, 10\) .* not \(10, 12\)"),
        ({"logits": np.zeros((6, 1), np.float32)}, "at least 2 classes"),
    ],
)
def test_shapes_that_do_not_fit(change, message):
    logits, labels, embeddings, kernel, _ = example(0, 10, False)
    arguments = {"logits": logits, "labels": labels, "embeddings": embeddings, "kernel": kernel} | change
    with pytest.raises(ValueError, match=message):
        head_alignment(**arguments)
    if "kernel must" not in message:
        del arguments["kernel"]
        with pytest.raises(ValueError, match=message):
            head_gradient_norm(**arguments)
    if "embeddings" not in change and "kernel" not in change:
        with pytest.raises(ValueError, match=message):
            prediction_entropy(arguments["logits"], arguments["labels"])


@pytest.mark.parametrize("margin", [-200, -15, 0, 5, 50, 1000])
@pytest.mark.parametrize("classes", [2, 10])
def test_the_entropy_is_that_of_the_softmax(margin, classes):
    logits, labels, *_ = example(margin, classes, False)
    z = logits.astype(np.longdouble)
    log_p = z - z.max(-1, keepdims=True) - np.log(np.sum(np.exp(z - z.max(-1, keepdims=True)), -1, keepdims=True))
    expected = -np.sum(np.exp(log_p) * log_p, -1)
    for targets in (labels, np.eye(classes, dtype=np.float32)[labels], np.full((6, classes), 1 / classes, np.float32)):
        np.testing.assert_allclose(prediction_entropy(logits, targets), expected, rtol=3e-6, atol=2e-7)


def test_alignment_gradient_norm_and_entropy_share_their_exponentials():
    """XLA counts one exponential per logit, and some operations per sample."""

    def scores(logits, labels, embeddings, kernel):
        norm = head_gradient_norm(logits, labels, embeddings)
        return head_alignment(logits, labels, embeddings, kernel), norm, prediction_entropy(logits, labels)

    samples, classes = 64, 1000
    arguments = [jnp.zeros(shape) for shape in ((samples, classes), (samples, 8), (8, classes))]
    compiled = jax.jit(scores).lower(arguments[0], jnp.zeros(samples, int), *arguments[1:]).compile()
    cost = compiled.cost_analysis()
    cost = cost[0] if isinstance(cost, list) else cost  # before JAX 0.5
    assert samples * classes <= cost["transcendentals"] <= samples * (classes + 20)
