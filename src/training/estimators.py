"""Other ways to estimate an epoch's alignments, by name, for comparison with the scores that training takes online.

textbook    the residual softmax − target as it stands, in the compute dtype, from the same forward pass
"""

from __future__ import annotations

from collections.abc import Iterable

import jax
import jax.numpy as jnp

from errors import UserError

TEXTBOOK = "textbook"
NAMES = (TEXTBOOK,)


def check(names: Iterable[str]) -> tuple[str, ...]:
    """The names, if each is one of NAMES.

    Raises:
      UserError: otherwise.
    """
    for name in names:
        if name not in NAMES:
            raise UserError(f"estimators: there is no estimator {name!r}; there are {', '.join(NAMES)}")
    return tuple(names)


def textbook_alignment(
    logits: jax.Array, targets: jax.Array, embeddings: jax.Array, kernel: jax.Array, dtype: jax.typing.DTypeLike
) -> jax.Array:
    """The alignment as the formula reads, −z·(W δ) / (‖z‖ ‖δ‖ ‖W‖ + 1e-12) with δ = softmax(logits) − target.

    Everything is rounded to `dtype`. δ cancels for well fitted samples, and 1e-12, as in the paper's repository, then
    decides; `gwa.head_alignment` is free of both.

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
