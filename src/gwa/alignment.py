"""Gradient-weight alignment of single samples, in closed form, from the forward pass of a linear head."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from gwa.moment_arithmetic import LABEL_DTYPES


def head_alignment(
    logits: ArrayLike,
    labels: ArrayLike,
    embeddings: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
) -> jax.Array:
    """Cosine between each sample's negative head gradient and the head's kernel; in [-1, 1], high = well aligned.

    The loss is the cross-entropy of `logits = embeddings @ kernel + bias`; its negative gradient with respect to the
    kernel W is the outer product of the embedding z and the negative residual, y − softmax(logits). With u = logits −
    bias = z·W the cosine needs neither that gradient nor another product with W (Hölzl et al., arXiv 2510.25480)::

        γ = Σ_j (y_j − p_j) u_j / (‖z‖ ‖y − p‖ ‖W‖)

    For integer labels the residual is divided by 1 − p_y, which the cosine does not notice. What remains is free of
    cancellation however well a sample is fitted; q is the softmax over the wrong classes alone::

        γ = Σ_{j≠y} q_j (u_y − u_j) / (‖z‖ ‖W‖ √(1 + Σ_{j≠y} q_j²))

    Target distributions t are treated in the same way: y is the class of the largest target, r the targets of the other
    classes alone, scaled to sum to 1, and the residual is divided by (1 − p_y) + (1 − t_y)::

        γ = Σ_{j≠y} d_j (u_y − u_j) / (‖z‖ ‖W‖ √((b − a)² + Σ_{j≠y} d_j²))
        d_j = a q_j − b r_j,   a = (1 − p_y) / ((1 − p_y) + (1 − t_y)),   b = 1 − a

    Everything is computed in float32. The score can be no more precise than u: where the bias is far larger than z·W,
    pass logits without it. An embedding or a kernel of zeros has alignment 0. The score is NaN, never an error or a
    guess, where logits, embeddings, kernel, bias or targets are not finite, and where the label is no class: below 0
    (as the −100 that PyTorch's cross-entropy ignores), or `classes` and above. `Moments` counts such scores.

    Args:
      logits: `[..., classes]`, the head's output, bias included.
      labels: integers `[...]`, class indices; or floats `[..., classes]`, target distributions. Where these sum to
        another number T > 0 than 1, the gradient is still that of −Σ_j t_j log p_j.
      embeddings: `[..., features]`, the head's input z.
      kernel: `[features, classes]`, the head's weights W.
      bias: `[classes]`, or None for a head without.

    Returns:
      float32 `[...]`, one alignment per sample; NaN where it is not defined.

    Raises:
      ValueError: when the shapes do not fit together.

    Example:
      Two samples with the same embedding, which the head takes for class 0. The second one is labelled 1:

      >>> import jax.numpy as jnp
      >>> from gwa import head_alignment
      >>> kernel = jnp.eye(2)
      >>> embeddings = jnp.array([[2.0, 0.0], [2.0, 0.0]])
      >>> alignment = head_alignment(embeddings @ kernel, jnp.array([0, 1]), embeddings, kernel)
      >>> [f"{score:.2f}" for score in alignment]
      ['0.50', '-0.50']
    """
    logits, embeddings, kernel = (jnp.asarray(x, jnp.float32) for x in (logits, embeddings, kernel))
    labels, soft = _as_labels(labels)
    _check_shapes(logits, labels, embeddings, kernel, bias)
    products = logits if bias is None else logits - jnp.broadcast_to(jnp.asarray(bias, jnp.float32), logits.shape)
    if soft:
        cosine_numerator, residual_norm, _ = _soft_terms(logits, labels, products)
    else:
        cosine_numerator, residual_norm = _hard_terms(logits, labels, products)
    defined = jnp.isfinite(cosine_numerator)
    # One division at a time: the product of the norms may leave the range of float32 where the quotient does not.
    for norm in (residual_norm, _norm(embeddings, axis=-1), _norm(kernel, axis=None)):
        defined &= jnp.isfinite(norm)
        cosine_numerator = jnp.where(norm > 0, cosine_numerator / jnp.where(norm > 0, norm, 1), 0)
    return jnp.where(defined, cosine_numerator, jnp.nan)


def head_gradient_norm(logits: ArrayLike, labels: ArrayLike, embeddings: ArrayLike) -> jax.Array:
    """Norm of each sample's gradient at the head's kernel, ‖z‖ ‖softmax(logits) − y‖: EL2N weighted by ‖z‖.

    Free of cancellation in the same way, and of the same arguments, as `head_alignment`.

    Returns:
      float32 `[...]`, at least 0; small = well fitted; NaN where the label is no class or something is not finite.

    Raises:
      ValueError: when the shapes do not fit together.

    Example:
      The first sample is fitted, the second one is labelled otherwise:

      >>> import jax.numpy as jnp
      >>> from gwa import head_gradient_norm
      >>> embeddings = logits = jnp.array([[2.0, 0.0], [2.0, 0.0]])
      >>> [f"{norm:.2f}" for norm in head_gradient_norm(logits, jnp.array([0, 1]), embeddings)]
      ['0.34', '2.49']
    """
    logits, embeddings = jnp.asarray(logits, jnp.float32), jnp.asarray(embeddings, jnp.float32)
    labels, soft = _as_labels(labels)
    _check_shapes(logits, labels, embeddings)
    if soft:
        _, residual_norm, scale = _soft_terms(logits, labels, logits)
        residual_norm *= scale
    else:
        _, residual_norm = _hard_terms(logits, labels, logits)
        residual_norm *= jax.nn.sigmoid(_OtherClasses.of(logits, _find_own_class(labels, logits)).excess)
    return _norm(embeddings, axis=-1) * residual_norm


def prediction_entropy(logits: ArrayLike, labels: ArrayLike) -> jax.Array:
    """Entropy of each sample's softmax(logits), in nats.

    The labels do not change it. They are there because the exponentials over the other classes than the label's, which
    `head_alignment` needs, suffice: a program that calls both computes them once. q is the softmax over those classes::

        H(p) = −p_y log p_y − (1 − p_y) log(1 − p_y) + (1 − p_y) H(q)

    Args:
      logits: `[..., classes]`.
      labels: as in `head_alignment`.

    Returns:
      float32 `[...]`, in [0, log(classes)]; NaN where the label is no class or something is not finite.

    Raises:
      ValueError: when the shapes do not fit together.

    Example:
      >>> import jax.numpy as jnp
      >>> from gwa.alignment import prediction_entropy
      >>> [f"{entropy:.2f}" for entropy in prediction_entropy(jnp.array([[0.0, 0.0], [9.0, 0.0]]), jnp.array([0, 0]))]
      ['0.69', '0.00']
    """
    logits = jnp.asarray(logits, jnp.float32)
    labels, _ = _as_labels(labels)
    _check_shapes(logits, labels)
    others = _OtherClasses.of(logits, _find_own_class(labels, logits))
    among_others = jnp.log(others.total) - jnp.sum(others.softmax() * (logits - others.highest), axis=-1, keepdims=True)
    wrong, right = jax.nn.sigmoid(others.excess), jax.nn.sigmoid(-others.excess)
    of_wrong = jax.nn.softplus(-others.excess) + jnp.squeeze(among_others, -1)
    return right * jax.nn.softplus(others.excess) + wrong * of_wrong


def _as_labels(labels: ArrayLike) -> tuple[jax.Array, bool]:
    """Class indices as int32 or targets as float32, and whether it is these; NaN for targets with negative ones."""
    if isinstance(labels, np.ndarray) and labels.dtype in (np.int64, np.uint64):
        labels = np.clip(labels, -1, np.iinfo(np.int32).max)  # neither is a class; JAX would take the lower 32 bits
    labels = jnp.asarray(labels)
    if not jnp.issubdtype(labels.dtype, jnp.floating):
        return labels.astype(jnp.int32), False  # 8 bits could not be compared with the number of the 256th class
    targets = labels.astype(jnp.float32)
    return jnp.where(jnp.all(targets >= 0, axis=-1, keepdims=True), targets, jnp.nan), True


def _find_own_class(labels: jax.Array, logits: jax.Array) -> jax.Array:
    """Boolean `[..., classes]`: the label's class, or that of the largest target."""
    if jnp.issubdtype(labels.dtype, jnp.floating):
        labels = jnp.argmax(labels, axis=-1)
    return jax.nn.one_hot(labels, logits.shape[-1], dtype=bool)


class _OtherClasses(NamedTuple):
    """The exponentials of the logits of all classes but one, with a trailing axis of 1 where there are no classes.

    Whoever needs them calls `of` with the same arguments, and the compiler keeps one of the results.

    Attributes:
      exponentials: of logits − `highest`, `[..., classes]`; 0 for the class that is left out.
      highest: the largest of their logits.
      total: the sum of the exponentials.
      own: the logit of the class that is left out; −∞ if there is none.
    """

    exponentials: jax.Array
    highest: jax.Array
    total: jax.Array
    own: jax.Array

    @classmethod
    def of(cls, logits: jax.Array, left_out: jax.Array) -> "_OtherClasses":
        highest = jnp.max(jnp.where(left_out, -jnp.inf, logits), axis=-1, keepdims=True)
        exponentials = jnp.where(left_out, 0, jnp.exp(logits - highest))
        own = jnp.max(jnp.where(left_out, logits, -jnp.inf), axis=-1, keepdims=True)
        return cls(exponentials, highest, jnp.sum(exponentials, axis=-1, keepdims=True), own)

    def softmax(self) -> jax.Array:
        """Over these classes alone, `[..., classes]`."""
        return self.exponentials / self.total

    @property
    def excess(self) -> jax.Array:
        """By how much their log-sum-exp exceeds the logit of the class left out, `[...]`: the logit of 1 − p_y."""
        return jnp.squeeze(self.highest - self.own + jnp.log(self.total), -1)


def _hard_terms(logits: jax.Array, labels: jax.Array, products: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Σ_{j≠y} q_j (u_y − u_j) and √(1 + Σ_{j≠y} q_j²), for class indices; the latter is NaN where there is no y."""
    is_class = (labels >= 0) & (labels < logits.shape[-1])
    is_label = _find_own_class(labels, logits)
    wrong = _OtherClasses.of(logits, is_label).softmax()
    product_of_label = jnp.sum(jnp.where(is_label, products, 0), axis=-1, keepdims=True)
    return (
        jnp.sum(wrong * (product_of_label - products), axis=-1),
        jnp.where(is_class, jnp.sqrt(1 + jnp.sum(jnp.square(wrong), axis=-1)), jnp.nan),
    )


def _soft_terms(logits: jax.Array, targets: jax.Array, products: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """−Σ_j δ_j u_j and ‖δ‖ of the residual δ = Σ_j t_j softmax(logits) − t divided by a scale, and that scale.

    The scale is what softmax and targets leave to the other classes than that of the largest target, together.
    """
    largest = _find_own_class(targets, logits)
    own_target, own_product = (jnp.sum(jnp.where(largest, x, 0), axis=-1, keepdims=True) for x in (targets, products))
    others = _OtherClasses.of(logits, largest)
    log_missing = jax.nn.log_sigmoid(others.excess)[..., None]  # log(1 − p_y), however small
    other_targets = jnp.where(largest, 0, targets)
    other_target = jnp.sum(other_targets, axis=-1, keepdims=True)
    all_targets = own_target + other_target
    excess = log_missing - jnp.log(other_target / all_targets)
    share, target_share = jax.nn.sigmoid(excess), jax.nn.sigmoid(-excess)
    differences = (share / others.total) * others.exponentials - target_share * (
        other_targets / jnp.where(other_target == 0, 1, other_target)
    )
    residual = jnp.where(largest, target_share - share, differences)
    scale = all_targets * jnp.exp(log_missing) + other_target
    return jnp.sum(differences * (own_product - products), axis=-1), _norm(residual, axis=-1), jnp.squeeze(scale, -1)


def _norm(x: jax.Array, axis: int | None) -> jax.Array:
    """Euclidean norm whose squares neither overflow nor vanish: the largest entry is divided out first."""
    largest = jnp.max(jnp.abs(x), axis=axis, keepdims=True)
    scaled = x / jnp.where(largest > 0, largest, 1)
    return jnp.squeeze(largest, axis) * jnp.sqrt(jnp.sum(jnp.square(scaled), axis=axis))


def _check_shapes(
    logits: jax.Array,
    labels: jax.Array,
    embeddings: jax.Array | None = None,
    kernel: jax.Array | None = None,
    bias: ArrayLike | None = None,
) -> None:
    classes = logits.shape[-1] if logits.ndim else 0
    if classes < 2:
        raise ValueError(f"logits must be [..., classes] with at least 2 classes, not {logits.shape}")
    examples = logits.shape[:-1]
    features = embeddings.shape[-1] if embeddings is not None and embeddings.ndim else -1
    fitting = {
        "labels": (labels, (*examples, classes) if jnp.issubdtype(labels.dtype, jnp.floating) else examples),
        "embeddings": (embeddings, (*examples, features)),
        "kernel": (kernel, (features, classes)),
        "bias": (bias, (classes,)),
    }
    for name, (array, shape) in fitting.items():
        if array is not None and jnp.shape(array) != shape:
            kind = f" ({LABEL_DTYPES})" if name == "labels" else ""
            raise ValueError(f"{name} must be {shape} beside logits {logits.shape}, not {jnp.shape(array)}{kind}")
