"""What brings a split's batches to the devices: gathered from a resident set, or read from disk as they are needed."""

from __future__ import annotations

import abc
from collections.abc import Generator, Iterator, Sequence, Set
from typing import Any, NamedTuple

import jax
import numpy as np

from datasets import Examples, Listing, resident
from datasets.batches import Batches, Gathered, Stacked
from datasets.passes import Passes
from datasets.stream import Item, Stream
from training import devices


class Block(NamedTuple):
    """The batches of one dispatch, and how many of them are real."""

    batches: Batches
    steps: int


class Feed(abc.ABC):
    """One split. Every row comes once in a pass, and what fills a batch up has mask 0.

    Attributes:
      skipped: names of the pictures that were left out as they could not be decoded.
      ahead: how many blocks may wait for the device, or None where waiting costs no memory.
    """

    skipped: Set[str] = frozenset()
    ahead: int | None = None

    @abc.abstractmethod
    def shuffled(self, epoch: int, batch_size: int, steps: int, done: int = 0) -> Iterator[Block]:
        """A pass as training sees it, in the order of that epoch and in blocks of `steps` batches.

        With it goes on what has made `done` steps of the pass, in whole blocks.
        """

    @abc.abstractmethod
    def in_order(self, batch_size: int) -> Iterator[Block]:
        """A pass as evaluation sees it; the batches may be a little larger, so that all devices share them."""

    def close(self) -> None:  # noqa: B027  (a resident set has nothing to end)
        """Ends what works in the background."""

    def hold_back(self, dispatched: Sequence[Any]) -> None:
        """Waits until at most `ahead` dispatches are not finished, or what they take would pile up on the devices.

        Args:
          dispatched: outputs of the dispatches so far, in their order.
        """
        if self.ahead and len(dispatched) > self.ahead:
            jax.block_until_ready(dispatched[-1 - self.ahead])


def open_feed(examples: Examples | Listing, config: Any, mesh: jax.sharding.Mesh, resize: int | None = None) -> Feed:
    """The feed of a split, by what it is; pictures are evaluated at `resize` in place of `dataset.stream.resize`."""
    if isinstance(examples, Examples):
        return ResidentFeed(examples, config.seed, mesh)
    return StreamedFeed(Stream(examples, config, resize), config.seed, mesh)


class ResidentFeed(Feed):
    """All images lie on every device."""

    def __init__(self, examples: Examples, seed: int, mesh: jax.sharding.Mesh):
        self.data = devices.place(resident.arrays(examples), devices.replicated(mesh))
        self._size, self._seed, self._mesh = len(examples), seed, mesh

    def shuffled(self, epoch: int, batch_size: int, steps: int, done: int = 0) -> Iterator[Block]:
        """See `Feed.shuffled`."""
        order = resident.shuffled(self._size, self._seed, epoch)
        for rows, mask, count in resident.blocks(order, batch_size, steps)[done // steps :]:
            yield Block(self._gathered(rows, mask), count)

    def in_order(self, batch_size: int) -> Iterator[Block]:
        """See `Feed.in_order`; the whole pass is one block."""
        rows, mask = resident.one_block(np.arange(self._size), batch_size, self._mesh.size)
        yield Block(self._gathered(rows, mask), len(rows))

    def _gathered(self, rows: np.ndarray, mask: np.ndarray) -> Gathered:
        return Gathered(self.data, *devices.place((rows, mask), devices.batched(self._mesh)))


class StreamedFeed(Feed):
    """Pictures are read and decoded while the devices work; each process reads the part of a batch it holds.

    Reading goes on through the end of a pass into the next one, so that its first batches are there when it begins.
    """

    def __init__(self, stream: Stream, seed: int, mesh: jax.sharding.Mesh):
        self._stream, self._seed, self._mesh = stream, seed, mesh
        self._spread = devices.batched(mesh)
        self.ahead, self.skipped = stream.buffer, stream.skipped
        self._reading: Generator[Item, None, None] | None = None
        self._next: tuple[Passes, int, int] | None = None  # the epoch and the block that `_reading` gives next

    def shuffled(self, epoch: int, batch_size: int, steps: int, done: int = 0) -> Iterator[Block]:
        """See `Feed.shuffled`."""
        yield from self._pass(Passes(len(self._stream), batch_size, steps, self._seed), epoch, done // steps)

    def in_order(self, batch_size: int) -> Iterator[Block]:
        """See `Feed.in_order`; a block is one batch."""
        shared = -(-min(batch_size, len(self._stream)) // self._mesh.size) * self._mesh.size
        yield from self._pass(Passes(len(self._stream), shared, 1, None), 0, 0)

    def close(self) -> None:
        """See `Feed.close`."""
        if self._reading is not None:
            self._reading.close()
        self._reading = self._next = None

    def _pass(self, passes: Passes, epoch: int, first: int) -> Iterator[Block]:
        shape = passes.steps, passes.batch_size
        mine = _columns(self._spread, shape)
        for number in range(first, len(passes)):
            if self._reading is None or self._next != (passes, epoch, number):
                self.close()
                self._reading = self._stream.read(passes, mine, epoch, number)
            batches = next(self._reading)
            ends = number + 1 == len(passes)
            # Passes in order are all the same, whatever the epoch.
            self._next = (passes, epoch + (ends and passes.seed is not None), 0 if ends else number + 1)
            yield Block(
                Stacked({name: self._spread_out(array, mine, shape) for name, array in batches.items()}),
                passes.block(epoch, number)[2],
            )

    def _spread_out(self, local: np.ndarray, mine: np.ndarray, shape: tuple[int, ...]) -> jax.Array:
        """The array `[steps, B, ...]` of which this process has the columns `mine`."""

        def part(index: tuple[slice, ...] | None) -> np.ndarray:
            assert index is not None  # as every device holds some columns
            first, last, _ = index[1].indices(shape[1])
            start = int(np.searchsorted(mine, first))
            return local[:, start : start + last - first]

        return jax.make_array_from_callback((*shape, *local.shape[2:]), self._spread, part)


def _columns(sharding: jax.sharding.NamedSharding, shape: tuple[int, ...]) -> np.ndarray:
    """Which columns of `[steps, B]` lie on this process's devices, ascending."""
    parts = (index[1] for index in sharding.addressable_devices_indices_map(shape).values() if index)
    return np.unique(np.concatenate([np.arange(shape[1])[part] for part in parts]))
