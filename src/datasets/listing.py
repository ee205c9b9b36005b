"""A split that stays on disk: labels in memory, encoded pictures read one by one."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np


class Pictures(Protocol):
    """Encoded pictures in the order of their source; workers get a pickled copy."""

    def __len__(self) -> int: ...

    def read(self, row: int) -> bytes:
        """The file's content.

        Raises:
          OSError: when it cannot be read.
        """

    def name(self, row: int) -> str:
        """What a person finds the picture by: its path, or its place in the data set."""


@dataclasses.dataclass(frozen=True)
class Listing:
    """One streamed split, the counterpart of `Examples`.

    Attributes:
      pictures: of the whole source.
      labels: int32 `[N]`, observed classes.
      clean_labels: int32 `[N]`, true classes, or None where nobody knows them.
      rows: int64 `[N]`, each example's row in `pictures`.
      image_shape: height, width and channels that the pictures are cropped to.
    """

    pictures: Pictures
    labels: np.ndarray
    clean_labels: np.ndarray | None
    rows: np.ndarray
    image_shape: tuple[int, int, int]

    @classmethod
    def of(
        cls, pictures: Pictures, labels: np.ndarray, image_size: int, clean_labels: np.ndarray | None = None
    ) -> Listing:
        """All rows of a source, in its order; the labels are taken for clean unless there are cleaner ones."""
        clean = labels if clean_labels is None else clean_labels
        shape = (image_size, image_size, 3)
        return cls(pictures, labels.astype(np.int32), clean.astype(np.int32), np.arange(len(labels)), shape)

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: np.ndarray) -> Listing:
        """The examples at `index`, in its order."""
        clean_labels = None if self.clean_labels is None else self.clean_labels[index]
        return dataclasses.replace(self, labels=self.labels[index], clean_labels=clean_labels, rows=self.rows[index])
