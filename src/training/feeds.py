"""What brings a split's batches to the devices: gathered from a resident set, or read from disk as they are needed."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Set
from typing import Any, NamedTuple

import jax
import numpy as np

from datasets import Examples, Listing, resident
from datasets.batches import Batches, Gathered, Stacked
from datasets.stream import Stream
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


def open_feed(examples: Examples | Listing, config: Any, mesh: jax.sharding.Mesh) -> Feed:
    """The feed of a split, by what it is."""
    if isinstance(examples, Examples):
        return ResidentFeed(examples, config.seed, mesh)
    return StreamedFeed(Stream(examples, config), config.seed, mesh)


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
    """Pictures are read and decoded while the devices work; each process reads the part of a batch it holds."""

    def __init__(self, stream: Stream, seed: int, mesh: jax.sharding.Mesh):
        self._stream, self._seed, self._mesh = stream, seed, mesh
        self._spread = devices.batched(mesh)
        self.ahead, self.skipped = stream.buffer, stream.skipped

    def shuffled(self, epoch: int, batch_size: int, steps: int, done: int = 0) -> Iterator[Block]:
        """See `Feed.shuffled`."""
        order = resident.shuffled(len(self._stream), self._seed, epoch)
        yield from self._blocks(resident.blocks(order, batch_size, steps)[done // steps :], (self._seed, epoch))

    def in_order(self, batch_size: int) -> Iterator[Block]:
        """See `Feed.in_order`; a block is one batch."""
        shared = -(-min(batch_size, len(self._stream)) // self._mesh.size) * self._mesh.size
        yield from self._blocks(resident.blocks(np.arange(len(self._stream)), shared, 1), None)

    def _blocks(
        self, blocks: list[tuple[np.ndarray, np.ndarray, int]], crops: tuple[int, int] | None
    ) -> Iterator[Block]:
        shape = blocks[0][0].shape
        mine = _columns(self._spread, shape)
        local = [(rows[:, mine], mask[:, mine]) for rows, mask, _ in blocks]
        for (_, _, count), batches in zip(blocks, self._stream.read(local, crops), strict=True):
            yield Block(Stacked({name: self._spread_out(array, mine, shape) for name, array in batches.items()}), count)

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
