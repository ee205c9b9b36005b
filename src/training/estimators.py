"""Other estimates of an epoch's alignments, by name, to compare with those that training computes online.

textbook           the residual softmax − target as it stands, in the compute dtype, from the same forward pass
offline            the head's alignment at the parameters after the epoch, on the images as evaluation sees them
offline_train      the same with the augmentation, mixing and dropout of that epoch
full               as offline, with the gradient of all parameters in place of the head's kernel
layers=<pattern>   as full, separately for every parameter array whose path (`head/kernel`) matches the regular
                   expression as a whole; the estimates are called `layers/<path>`
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import jax
import jax.numpy as jnp

from errors import UserError

TEXTBOOK, OFFLINE, OFFLINE_TRAIN, FULL, LAYERS = "textbook", "offline", "offline_train", "full", "layers"
NAMES = (TEXTBOOK, OFFLINE, OFFLINE_TRAIN, FULL, f"{LAYERS}=<pattern>")


def check_names(names: Iterable[str]) -> tuple[str, ...]:
    """Returns the names as a tuple if each is one of NAMES.

    Raises:
      UserError: otherwise, or if the pattern of `layers` is not a regular expression.
    """
    for name in names:
        pattern = layer_pattern(name)
        if pattern is None and name not in NAMES[:-1]:
            raise UserError(f"estimators: there is no estimator {name!r}; there are {', '.join(NAMES)}")
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise UserError(f"estimators: {pattern!r} in {name!r} is no regular expression: {error}") from None
    return tuple(names)


def layer_pattern(name: str) -> str | None:
    """The pattern in `layers=<pattern>`; None for any other estimator."""
    kind, equals, pattern = name.partition("=")
    return pattern if kind == LAYERS and equals else None


def textbook_alignment(
    logits: jax.Array, targets: jax.Array, embeddings: jax.Array, kernel: jax.Array, dtype: jax.typing.DTypeLike
) -> jax.Array:
    """The alignment as the formula reads, −z·(W δ) / (‖z‖ ‖δ‖ ‖W‖ + 1e-12) with δ = softmax(logits) − target.

    Everything is rounded to `dtype`. For well fitted samples δ cancels, and then the 1e-12 of the paper's repository
    decides the result; `gwa.head_alignment` has neither problem.

    Args:
      logits: `[B, classes]`.
      targets: class indices `[B]` or distributions `[B, classes]`.
      embeddings: `[B, features]`.
      kernel: `[features, classes]`.
      dtype: the compute dtype, float32 or bfloat16.

    Returns:
      float32 `[B]`.
    """
    logits, embeddings, kernel = (x.astype(dtype) for x in (logits, embeddings, kernel))
    if jnp.issubdtype(targets.dtype, jnp.integer):
        targets = jax.nn.one_hot(targets, logits.shape[-1])
    residual = jax.nn.softmax(logits, axis=-1) - targets.astype(dtype)
    product = jnp.sum(embeddings * (residual @ kernel.T), axis=-1)
    norms = [jnp.linalg.norm(x, axis=axis) for x, axis in ((embeddings, -1), (residual, -1), (kernel, None))]
    return (-product / (norms[0] * norms[1] * norms[2] + 1e-12)).astype(jnp.float32)
