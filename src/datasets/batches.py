"""Batches on the device: gathered from a set that lies there whole, or brought there one by one from disk."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

Batch = dict[str, jax.Array]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Gathered:
    """Batches of a resident set: `data` is `image` `[N, H, W, C]` and `label` `[N]`, of which each takes some rows.

    Attributes:
      data: the whole split.
      rows: int32 `[steps, B]`, of the split.
      mask: float32 `[steps, B]`, 0 for rows that only fill a batch up.
    """

    data: Batch
    rows: jax.Array
    mask: jax.Array

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, i: int | jax.Array) -> Batch:
        """The batch `{image, label, index, mask}` of step i."""
        return gather(self.data, self.rows[i], self.mask[i])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Stacked:
    """Batches that came from disk, one upon the other: `image` uint8 `[steps, B, H, W, C]`, the others `[steps, B]`."""

    batches: Batch

    def __len__(self) -> int:
        return len(self.batches["label"])

    @property
    def rows(self) -> jax.Array:
        """As `Gathered.rows`."""
        return self.batches["index"]

    @property
    def mask(self) -> jax.Array:
        """As `Gathered.mask`; also 0 for pictures that could not be decoded."""
        return self.batches["mask"]

    def at(self, i: int | jax.Array) -> Batch:
        """The batch `{image, label, index, mask}` of step i."""
        return jax.tree.map(lambda stack: stack[i], self.batches)


Batches = Gathered | Stacked


def gather(data: Batch, rows: jax.Array, mask: jax.Array) -> Batch:
    """The batch `{image, label, index, mask}` of the given rows."""
    return {
        "image": jnp.take(data["image"], rows, axis=0),
        "label": jnp.take(data["label"], rows, axis=0),
        "index": rows,
        "mask": mask,
    }
