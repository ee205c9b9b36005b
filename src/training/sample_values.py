"""Further values of each training sample that a run may record, to compare what finds wrong labels with its alignment.

loss         cross-entropy, nats
margin       logit of the observed label minus the largest other logit; the mean over epochs is AUM (Pleiss et al. 2020)
error_norm   ‖softmax(logits) − target‖₂, EL2N (Paul et al. 2021)

All are taken from the forward pass of training, as the alignment is.
"""

from __future__ import annotations

from collections.abc import Iterable

import jax
import jax.numpy as jnp

from gwa import head_gradient_norm

NAMES = ("loss", "margin", "error_norm")
PREFIX = "samples/"  # of their names among the metrics of a step, and in those of the files


def measure_samples(
    names: Iterable[str], logits: jax.Array, targets: jax.Array, labels: jax.Array, losses: jax.Array
) -> dict[str, jax.Array]:
    """The values of these names, float32 `[B]` each, by their names with PREFIX.

    Args:
      names: of NAMES.
      logits: `[B, classes]`.
      targets: what the loss is about: class indices `[B]` or distributions `[B, classes]`.
      labels: observed labels, int32 `[B]`.
      losses: cross-entropies `[B]`.
    """
    is_label = jax.nn.one_hot(labels, logits.shape[-1], dtype=bool)
    of_label = jnp.take_along_axis(logits, labels[:, None], axis=-1)[:, 0]
    values = {
        "loss": losses,
        "margin": of_label - jnp.max(jnp.where(is_label, -jnp.inf, logits), axis=-1),
        "error_norm": head_gradient_norm(logits, targets, jnp.ones((len(logits), 1))),
    }
    return {PREFIX + name: values[name] for name in names}
