"""What every source of data delivers: labelled images of one size in host memory."""

from __future__ import annotations

import dataclasses

import numpy as np

from datasets.listing import Listing


@dataclasses.dataclass(frozen=True)
class Examples:
    """One split. The label that training sees is the observed one; the clean one only ever judges.

    Attributes:
      images: uint8 `[N, height, width, channels]`.
      labels: int32 `[N]`, observed classes.
      clean_labels: int32 `[N]`, true classes, or None where nobody knows them.
      rows: int64 `[N]`, each example's row in its source.
    """

    images: np.ndarray
    labels: np.ndarray
    clean_labels: np.ndarray | None
    rows: np.ndarray

    @classmethod
    def of(cls, images: np.ndarray, labels: np.ndarray, clean_labels: np.ndarray | None) -> Examples:
        """All rows of a source, in its order."""
        clean_labels = None if clean_labels is None else clean_labels.astype(np.int32)
        return cls(images, labels.astype(np.int32), clean_labels, np.arange(len(labels)))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Height, width and channels."""
        return self.images.shape[1:]

    def take(self, index: np.ndarray) -> Examples:
        """The examples at `index`, in its order."""
        clean_labels = None if self.clean_labels is None else self.clean_labels[index]
        return Examples(self.images[index], self.labels[index], clean_labels, self.rows[index])


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set as it was found: the official training and test split; `test` is None where there is none."""

    train: Examples | Listing
    test: Examples | Listing | None
    class_names: tuple[str, ...]
