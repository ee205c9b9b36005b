"""What every source of data delivers: labelled images, in memory or as files that are read while training."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol, Self

import numpy as np

from errors import UserError


@dataclasses.dataclass(frozen=True)
class _Labelled:
    """One split without its images. Training sees the observed labels; the clean ones are for evaluation only.

    Attributes:
      labels: int32 `[N]`, observed classes.
      clean_labels: int32 `[N]`, true classes, or None where they are unknown.
      rows: int64 `[N]`, each example's row in its source.
    """

    labels: np.ndarray
    clean_labels: np.ndarray | None
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: np.ndarray) -> Self:
        """The examples at `index`, in its order."""
        clean_labels = None if self.clean_labels is None else self.clean_labels[index]
        return dataclasses.replace(self, labels=self.labels[index], clean_labels=clean_labels, rows=self.rows[index])


@dataclasses.dataclass(frozen=True)
class Examples(_Labelled):
    """One split in memory.

    Attributes:
      images: uint8 `[N, height, width, channels]`.
      paths: bytes `[N]`, the images' files in the folder of the data set; None where they are no files of their own.
      skipped: names of images of the source that could not be decoded and are left out.
    """

    images: np.ndarray
    paths: np.ndarray | None = None
    skipped: frozenset[str] = frozenset()

    @classmethod
    def of(cls, images: Any, labels: Any, clean_labels: Any = None) -> Examples:
        """All rows of a source, in its order.

        Args:
          images: uint8 `[N, height, width, channels]` with 1 or 3 channels; of grey images also `[N, height, width]`.
          labels: integers `[N]`, classes from 0.
          clean_labels: the same for the true classes; None where they are unknown.

        Raises:
          UserError: an array has another dtype or shape.
        """
        images = np.asarray(images)
        if images.ndim == 3:
            images = images[..., None]
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
            scale = "" if images.dtype == np.uint8 else ", with values scaled to 0 to 255 (of 16 bits: images // 257)"
            raise UserError(
                f"images are {images.dtype} {images.shape}; they must be uint8 [N, height, width, 1 or 3]{scale}"
            )
        labels = _check_labels(labels, len(images), "labels")
        if clean_labels is not None:
            clean_labels = _check_labels(clean_labels, len(images), "clean_labels")
        return cls(labels, clean_labels, np.arange(len(labels)), images)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Height, width and channels."""
        return self.images.shape[1:]

    def take(self, index: np.ndarray) -> Self:
        """See above."""
        paths = None if self.paths is None else self.paths[index]
        return dataclasses.replace(super().take(index), images=self.images[index], paths=paths)


def _check_labels(labels: Any, count: int, name: str) -> np.ndarray:
    """The labels as int32, if they are one integer per image."""
    labels = np.asarray(labels)
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(f"{name} are {labels.dtype} {labels.shape}; they must be {count} integers, one per image")
    if count and (labels.min() < 0 or labels.max() > np.iinfo(np.int32).max):
        raise UserError(f"{name} lie in [{labels.min()}, {labels.max()}]; they must be numbers of classes, from 0")
    return labels.astype(np.int32)


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

    def paths(self, rows: np.ndarray) -> np.ndarray | None:
        """The files of these rows, relative to the folder of the data set, as bytes; None where there are none."""


@dataclasses.dataclass(frozen=True)
class StreamedExamples(_Labelled):
    """One split whose images stay on disk.

    Attributes:
      encoded: the image files of the whole source; `rows` says which of them this split has.
      image_shape: height, width and channels that the images are cropped to.
    """

    encoded: EncodedImages
    image_shape: tuple[int, int, int]

    @classmethod
    def of(
        cls, encoded: EncodedImages, labels: np.ndarray, image_size: int, clean_labels: np.ndarray | None = None
    ) -> StreamedExamples:
        """All rows of a source, in its order; without clean labels, the observed ones count as clean."""
        clean = labels if clean_labels is None else clean_labels
        shape = (image_size, image_size, 3)
        return cls(labels.astype(np.int32), clean.astype(np.int32), np.arange(len(labels)), encoded, shape)

    @property
    def paths(self) -> np.ndarray | None:
        """As `Examples.paths`."""
        return self.encoded.paths(self.rows)


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set as it was found.

    Attributes:
      train: the official training split.
      test: the official test split, None where there is none.
      class_names: one name per class, in the order of the labels.
      val: the official validation split; None where there is none. Its `rows` continue those of `train`.
      left_out: what was found and is not read, in one line; empty if all is.
    """

    train: Examples | StreamedExamples
    test: Examples | StreamedExamples | None
    class_names: tuple[str, ...]
    val: Examples | StreamedExamples | None = None
    left_out: str = ""

    def splits(self) -> dict[str, Examples | StreamedExamples]:
        """Those that there are, by the prefix that their arrays have in a file: none for training."""
        splits = {"": self.train, "val_": self.val, "test_": self.test}
        return {prefix: split for prefix, split in splits.items() if split is not None}

    def check(self) -> None:
        """Refuses splits in memory that do not go together.

        Raises:
          UserError: a split is empty, a label is none of the classes, a name stands for two classes, or other images
            differ in shape from the training images.
        """
        num_classes = len(self.class_names)
        if not all(isinstance(name, str) for name in self.class_names) or len(set(self.class_names)) < num_classes:
            raise UserError(f"class_names are {self.class_names}; they must be different texts, one per class")
        for prefix, split in self.splits().items():
            for name in ("labels", "clean_labels"):
                labels = getattr(split, name, None)
                if labels is not None and len(labels) == 0:
                    raise UserError(f"{prefix}{name} are empty; there must be at least one image")
                if labels is not None and (labels.min() < 0 or labels.max() >= num_classes):
                    raise UserError(
                        f"{prefix}{name} lie in [{labels.min()}, {labels.max()}]; they must lie in [0, {num_classes}), "
                        f"as there are {num_classes} classes"
                    )
            if split.image_shape != self.train.image_shape:
                raise UserError(f"{prefix}images are {split.image_shape}, but images are {self.train.image_shape}")
