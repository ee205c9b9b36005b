"""Test sets of corrupted images: generated from clean ones, or read from the benchmark's own files.

All share the interface of `CorruptedSet`: the labels of its images, in their order, and the examples of some rows under
one corruption. A set may be larger than the memory: only the rows that are asked for are made or read, and those of
ImageNet-C while they are evaluated.
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Protocol

import numpy as np

from datasets.examples import Examples, StreamedExamples
from datasets.feeds import decoding
from datasets.folders import ImageFiles
from errors import UserError
from evaluation.corruptions import CORRUPTIONS, SEVERITIES, check_images, check_names, corrupt_images
from evaluation.external_sets import folder_of_classes


class CorruptedSet(Protocol):
    """What evaluation needs of a test set of corrupted images.

    Attributes:
      source: `generated` or `official`.
      frost: the same; generated frost is not the benchmark's.
      labels: int32 `[N]`.
      image_shape: of one image.
    """

    source: str
    frost: str
    labels: np.ndarray
    image_shape: tuple[int, ...]

    def read(self, name: str, severity: int, rows: np.ndarray) -> Examples | StreamedExamples:
        """These rows, with their images as the corruption leaves them.

        Raises:
          UserError: when there is no such corruption or severity, or its file is missing or of another kind.
        """


class Generated:
    """Corruptions of a run's own test set; each image's depends on the seed and its row in the source alone."""

    source = frost = "generated"

    def __init__(self, examples: Examples, seed: int = 0):
        check_images(examples.images)
        self.labels, self.image_shape = examples.labels, examples.images.shape[1:]
        self._examples, self._seed = examples, seed

    def read(self, name: str, severity: int, rows: np.ndarray) -> Examples:
        """See `CorruptedSet.read`."""
        part = self._examples.take(rows)
        return dataclasses.replace(part, images=corrupt_images(part.images, name, severity, self._seed, part.rows))


class CifarFiles:
    """CIFAR-10-C or CIFAR-100-C: `<name>.npy` uint8 `[5·N, 32, 32, 3]`, severity 1 first, and `labels.npy`."""

    source = frost = "official"
    image_shape: tuple[int, ...] = (32, 32, 3)

    def __init__(self, directory: pathlib.Path):
        self._directory = directory
        labels = self._array("labels")
        if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer) or len(labels) % 5 or not len(labels):
            raise UserError(
                f"{directory / 'labels.npy'} holds {labels.dtype} {labels.shape}; it must hold five times N integers"
            )
        each = labels.reshape(5, -1)
        if (each != each[0]).any():
            raise UserError(f"{directory / 'labels.npy'}: the labels of the five severities differ; they must not")
        self.labels = each[0].astype(np.int32)

    def read(self, name: str, severity: int, rows: np.ndarray) -> Examples:
        """See `CorruptedSet.read`."""
        check_names((name,), (severity,))
        images = self._array(name)
        expected = (len(SEVERITIES) * len(self.labels), *self.image_shape)
        if images.dtype != np.uint8 or images.shape != expected:
            raise UserError(
                f"{self._directory / name}.npy holds {images.dtype} {images.shape}; it must hold uint8 {expected}"
            )
        return Examples.of(images[(severity - 1) * len(self.labels) + rows], self.labels[rows], None)

    def _array(self, name: str) -> np.ndarray:
        file = self._directory / f"{name}.npy"
        if not file.is_file():
            raise UserError(f"there is no file {file}; CIFAR-10-C has one per corruption, and labels.npy")
        try:
            return np.load(file, mmap_mode="r")
        except (ValueError, OSError, EOFError) as error:
            raise UserError(f"{file} is not an .npy file ({error})") from None


class ImageNetFiles:
    """ImageNet-C: `[<group>/]<name>/<severity>/<wnid>/*.JPEG`, cut to 224 pixels as they are published.

    Every corruption holds the same images under the same names, so one of them tells labels and order. Groups are the
    benchmark's, `blur`, `digital`, `extra`, `noise` and `weather`, or left out.
    """

    source = frost = "official"
    image_shape: tuple[int, ...] = (224, 224, 3)

    def __init__(self, directory: pathlib.Path, class_names: tuple[str, ...], part: bool):
        """Looks for the classes of a run; arguments are those of `external.folder_of_classes`."""
        self._directory = directory
        present = next((name for name in CORRUPTIONS if self._folder(name).is_dir()), None)
        if present is None:
            raise UserError(f"{directory} holds neither CIFAR-10-C (labels.npy) nor a folder of ImageNet-C")
        folder = min(self._folder(present).glob("[1-5]"), default=self._folder(present) / "1")
        self._examples = folder_of_classes(folder, class_names, (224, 224, 3), part).examples
        self.labels = self._examples.labels
        try:
            shape = decoding.decode(self._examples.encoded.read(0)).shape
        except decoding.DamagedImage as error:
            raise UserError(f"{self._examples.encoded.name(0)} cannot be decoded ({error})") from None
        if shape != self.image_shape:
            raise UserError(f"{self._examples.encoded.name(0)} is {shape}; images of ImageNet-C are {self.image_shape}")

    def read(self, name: str, severity: int, rows: np.ndarray) -> StreamedExamples:
        """See `CorruptedSet.read`."""
        check_names((name,), (severity,))
        files = self._examples.encoded
        assert isinstance(files, ImageFiles)
        files = files.below(self._folder(name) / str(severity))
        if len(rows) and not pathlib.Path(files.name(rows[0])).is_file():
            raise UserError(f"there is no image {files.name(rows[0])}")
        return dataclasses.replace(self._examples.take(rows), encoded=files)

    def _folder(self, name: str) -> pathlib.Path:
        grouped = self._directory / CORRUPTIONS[name].group / name
        return grouped if grouped.is_dir() else self._directory / name


def official(directory: pathlib.Path, class_names: tuple[str, ...], part: bool) -> CifarFiles | ImageNetFiles:
    """The benchmark's own files in a folder, of CIFAR-10-C or ImageNet-C by what lies there.

    Args:
      directory: of the files.
      class_names: of the run, which folders of ImageNet-C are called by.
      part: the run has only some classes of its data set; folders of others are left out.

    Raises:
      UserError: when neither does, or ImageNet-C's classes are not the run's.
    """
    if not directory.is_dir():
        raise UserError(f"there is no folder {directory}")
    return CifarFiles(directory) if any(directory.glob("*.npy")) else ImageNetFiles(directory, class_names, part)
