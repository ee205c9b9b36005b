"""Which rows come when: the order of an epoch, cut into batches and blocks of batches, without reading any image."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np


def shuffle_rows(num_examples: int, seed: int, epoch: int) -> np.ndarray:
    """The order of an epoch: a permutation of the rows, a function of its arguments alone."""
    return np.random.default_rng([seed, epoch]).permutation(num_examples)


def cut_into_blocks(order: np.ndarray, batch_size: int, steps: int) -> list[tuple[np.ndarray, np.ndarray, int]]:
    """Cuts an order of rows into batches, and the batches into blocks of `steps`, one per dispatch.

    The first rows of the order fill up the last batch, and further batches of them the last block; the mask is 0 there.
    All blocks have the same shape, so one compiled program serves them all.

    Returns:
      For each block, rows int32 `[steps, batch_size]`, mask float32 of the same shape, and how many steps are real.
    """
    num_steps = -(-len(order) // batch_size)
    num_blocks = -(-num_steps // steps)
    rows = np.resize(order.astype(np.int32), (num_blocks, steps, batch_size))
    mask = (np.arange(rows.size) < len(order)).astype(np.float32).reshape(rows.shape)
    return [(rows[i], mask[i], min(steps, num_steps - i * steps)) for i in range(num_blocks)]


def cut_into_one_block(order: np.ndarray, batch_size: int, num_devices: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and mask `[steps, B]` of a whole pass; B is `batch_size` or a little more, so that all devices share it."""
    shared = -(-min(batch_size, len(order)) // num_devices) * num_devices
    ((rows, mask, _),) = cut_into_blocks(order, shared, -(-len(order) // shared))
    return rows, mask


@dataclasses.dataclass(frozen=True)
class BatchOrder:
    """The passes over a split, one per epoch; without a seed they are all the same.

    Attributes:
      size: rows of the split.
      batch_size: rows of a batch, on all devices together.
      steps: batches of a block.
      seed: shuffles each pass; None for the order of the split.
    """

    size: int
    batch_size: int
    steps: int
    seed: int | None

    def __len__(self) -> int:
        """Blocks in a pass."""
        return -(-self.size // (self.batch_size * self.steps))

    def block(self, epoch: int, number: int) -> tuple[np.ndarray, np.ndarray, int]:
        """A block of the pass of that epoch, as `cut_into_blocks` gives it: rows, mask, and how many steps are real."""
        return _blocks(self, epoch if self.seed is not None else 0)[number]


@functools.lru_cache(maxsize=4)  # training and evaluation read at most one pass ahead
def _blocks(order: BatchOrder, epoch: int) -> list[tuple[np.ndarray, np.ndarray, int]]:
    rows = np.arange(order.size) if order.seed is None else shuffle_rows(order.size, order.seed, epoch)
    return cut_into_blocks(rows, order.batch_size, order.steps)
