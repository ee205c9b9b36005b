"""What every source of data delivers: labelled images, in memory or as files that are read while training."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np


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


class EncodedImages(Protocol):
    """Encoded images in the order of their source; workers get a pickled copy."""

    def __len__(self) -> int: ...

    def read(self, row: int) -> bytes:
        """The file's content.

        Raises:
          OSError: when it cannot be read.
        """

    def name(self, row: int) -> str:
        """What a person finds the image by: its path, or its place in the data set."""


@dataclasses.dataclass(frozen=True)
class StreamedExamples:
    """One streamed split, the counterpart of `Examples`.

    Attributes:
      encoded: the image files of the whole source.
      labels: int32 `[N]`, observed classes.
      clean_labels: int32 `[N]`, true classes, or None where nobody knows them.
      rows: int64 `[N]`, each example's row in `images`.
      image_shape: height, width and channels that the images are cropped to.
    """

    encoded: EncodedImages
    labels: np.ndarray
    clean_labels: np.ndarray | None
    rows: np.ndarray
    image_shape: tuple[int, int, int]

    @classmethod
    def of(
        cls, encoded: EncodedImages, labels: np.ndarray, image_size: int, clean_labels: np.ndarray | None = None
    ) -> StreamedExamples:
        """All rows of a source, in its order; the labels are taken for clean unless there are cleaner ones."""
        clean = labels if clean_labels is None else clean_labels
        shape = (image_size, image_size, 3)
        return cls(encoded, labels.astype(np.int32), clean.astype(np.int32), np.arange(len(labels)), shape)

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: np.ndarray) -> StreamedExamples:
        """The examples at `index`, in its order."""
        clean_labels = None if self.clean_labels is None else self.clean_labels[index]
        return dataclasses.replace(self, labels=self.labels[index], clean_labels=clean_labels, rows=self.rows[index])


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set as it was found: the official training and test split; `test` is None where there is none."""

    train: Examples | StreamedExamples
    test: Examples | StreamedExamples | None
    class_names: tuple[str, ...]
