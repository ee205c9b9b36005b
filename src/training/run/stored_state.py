"""What a checkpoint stores: the arrays of a state with a hash of their content, all of them finite."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from errors import UserError
from parallel.processes import is_multiprocess
from training.run.checksums import digest

if TYPE_CHECKING:
    from training.state import TrainState


def check_finite(params: Any) -> None:
    """Refuses parameters that are not finite, which no checkpoint should hold.

    Raises:
      UserError: with what would help.
    """
    if not _are_finite(params):
        raise UserError(
            "training cannot go on: the parameters are not finite; if it diverges, lower optimizer.learning_rate or "
            "set optimizer.clip_norm (what was saved before is kept)"
        )


def _are_finite(tree: Any) -> bool:
    if jax.default_backend() == "cpu" and not is_multiprocess():  # NumPy sees the arrays as they lie there
        return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))
    return bool(_are_finite_on_devices(tree))


@jax.jit
def _are_finite_on_devices(tree: Any) -> jax.Array:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]))


def to_dict(state: TrainState) -> dict[str, Any]:
    """The fields of a state that hold arrays; an average that the run does not keep leaves no trace on disk."""
    return {name: value for name, value in vars(state).items() if value is not None}


def check_same_arrays(saved: Any, template: Any) -> None:
    """Compares the arrays of a checkpoint with those that the program of today would restore.

    Raises:
      ValueError: one of them has another dtype or shape, or is only on one side.
    """
    there, here = (
        {
            jax.tree_util.keystr(path, simple=True, separator="/"): f"{leaf.dtype} {leaf.shape}"
            for path, leaf in jax.tree.leaves_with_path(tree)
            if not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        }
        for tree in (saved, template)
    )
    for name in {**here, **there}:
        if there.get(name, "absent") != here.get(name, "absent") and name != "state/rng":
            raise ValueError(f"{name} is {there.get(name, 'absent')} there and {here.get(name, 'absent')} here")


def zeros_like(array: Any) -> np.ndarray:
    """An array of zeros on the host, of the same shape and dtype."""
    return np.zeros(array.shape, array.dtype)


def add_digest(tree: Any, hashed: Any = None) -> dict[str, Any]:
    """What is stored for a tree: itself, and the hash of its content, or of the same content as another tree."""
    return {"tree": tree, "digest": digest(tree if hashed is None else hashed)}
