"""Batches on the devices, what a feed of them is, and the feed of sets that lie on the devices as a whole."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterator, Sequence, Set
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from datasets.examples import Examples
from datasets.feeds.order import cut_into_blocks, cut_into_one_block, shuffle_rows
from errors import UserError
from parallel import devices

Batch = dict[str, jax.Array]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Gathered:
    """Batches of a resident set, each some of its rows.

    Attributes:
      data: the whole split, `image` `[N, H, W, C]` and `label` `[N]`.
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
    """Batches read from disk, stacked: `image` uint8 `[steps, B, H, W, C]`, the other arrays `[steps, B]`."""

    batches: Batch

    def __len__(self) -> int:
        return len(self.batches["label"])

    @property
    def rows(self) -> jax.Array:
        """As `Gathered.rows`."""
        return self.batches["index"]

    @property
    def mask(self) -> jax.Array:
        """As `Gathered.mask`; also 0 for images that could not be decoded."""
        return self.batches["mask"]

    def at(self, i: int | jax.Array) -> Batch:
        """The batch `{image, label, index, mask}` of step i."""
        return jax.tree.map(lambda stack: stack[i], self.batches)


Batches = Gathered | Stacked


def gather(data: Batch, rows: jax.Array, mask: jax.Array) -> Batch:
    """The batch `{image, label, index, mask}` of these rows."""
    image, label = (jnp.take(data[name], rows, axis=0) for name in ("image", "label"))
    return {"image": image, "label": label, "index": rows, "mask": mask}


class Block(NamedTuple):
    """The batches of one dispatch, and how many of them are real."""

    batches: Batches
    steps: int


class Feed(abc.ABC):
    """Delivers the batches of one split. A pass has every row once; rows that only fill a batch up have mask 0.

    Attributes:
      skipped: names of the images that were left out because they could not be decoded.
      ahead: how many blocks may wait for the device, or None where waiting costs no memory.
    """

    skipped: Set[str] = frozenset()
    ahead: int | None = None

    @abc.abstractmethod
    def read_epoch(self, epoch: int, batch_size: int, steps: int, done: int = 0) -> Iterator[Block]:
        """A training pass: the batches of that epoch in its order, in blocks of `steps`.

        It starts after the first `done` steps, which must be whole blocks.
        """

    @abc.abstractmethod
    def read_in_order(self, batch_size: int) -> Iterator[Block]:
        """An evaluation pass; the batches may be a little larger, so that all devices share them."""

    def close(self) -> None:  # noqa: B027  (a resident set has nothing to stop)
        """Stops reading in the background."""

    def hold_back(self, dispatched: Sequence[Any]) -> None:
        """Waits until at most `ahead` dispatches are unfinished; otherwise their inputs would pile up on the devices.

        Args:
          dispatched: outputs of the dispatches so far, in order.
        """
        if self.ahead and len(dispatched) > self.ahead:
            jax.block_until_ready(dispatched[-1 - self.ahead])


def select_arrays(examples: Examples) -> dict[str, np.ndarray]:
    """What goes to the device, the whole split: `image` uint8 `[N, H, W, C]` and observed `label` int32 `[N]`.

    The clean labels stay behind, so nothing that computes on the device can see them.
    """
    return {"image": examples.images, "label": examples.labels}


def _check_memory(needed: int, of_this_process: Sequence[jax.Device]) -> None:
    for device in of_this_process:
        stats = device.memory_stats()  # a CPU has none
        if stats and needed > (free := stats["bytes_limit"] - stats["bytes_in_use"]):
            raise UserError(
                f"dataset.feed is 'resident'; the images take {needed / 1e9:.1f} GB, and {device} has {free / 1e9:.1f} "
                "GB free; choose fewer or smaller images, or dataset.feed=stream"
            )


class ResidentFeed(Feed):
    """Holds all images on every device."""

    def __init__(self, examples: Examples, seed: int, mesh: jax.sharding.Mesh):
        """Puts them there.

        Raises:
          UserError: a device has too little memory.
        """
        _check_memory(examples.images.nbytes, mesh.local_devices)
        self.skipped = examples.skipped
        self.data = devices.place(select_arrays(examples), devices.replicated_sharding(mesh))
        self._size, self._seed, self._mesh = len(examples), seed, mesh

    def read_epoch(self, epoch: int, batch_size: int, steps: int, done: int = 0) -> Iterator[Block]:
        """See `Feed.read_epoch`."""
        order = shuffle_rows(self._size, self._seed, epoch)
        for rows, mask, count in cut_into_blocks(order, batch_size, steps)[done // steps :]:
            yield Block(self._gather(rows, mask), count)

    def read_in_order(self, batch_size: int) -> Iterator[Block]:
        """See `Feed.read_in_order`; the whole pass is one block."""
        rows, mask = cut_into_one_block(np.arange(self._size), batch_size, self._mesh.size)
        yield Block(self._gather(rows, mask), len(rows))

    def _gather(self, rows: np.ndarray, mask: np.ndarray) -> Gathered:
        return Gathered(self.data, *devices.place((rows, mask), devices.batch_sharding(self._mesh)))
