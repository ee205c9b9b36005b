"""Pass after pass over a split, cut into blocks of batches: which rows come when, known without reading anything."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from datasets import resident


@dataclasses.dataclass(frozen=True)
class Passes:
    """All passes over a split. They are counted by epochs; those in order are all the same.

    Attributes:
      size: rows of the split.
      batch_size: rows of a batch, on all devices together.
      steps: batches of a block.
      seed: of the order of each pass; None for the order of the split.
    """

    size: int
    batch_size: int
    steps: int
    seed: int | None

    def __len__(self) -> int:
        """Blocks in a pass."""
        return -(-self.size // (self.batch_size * self.steps))

    def block(self, epoch: int, number: int) -> tuple[np.ndarray, np.ndarray, int]:
        """A block of the pass of that epoch, as `resident.blocks` gives it: rows, mask, and how many steps are real."""
        return _blocks(self, epoch if self.seed is not None else 0)[number]


@functools.lru_cache(
    maxsize=4
)  # what is read lies at most a pass behind what is read ahead, in training and evaluation
def _blocks(passes: Passes, epoch: int) -> list[tuple[np.ndarray, np.ndarray, int]]:
    rows = np.arange(passes.size)
    order = rows if passes.seed is None else resident.shuffled(passes.size, passes.seed, epoch)
    return resident.blocks(order, passes.batch_size, passes.steps)
