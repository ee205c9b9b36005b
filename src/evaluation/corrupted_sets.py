"""Test sets of corrupted images: generated from the run's own, or read from the files of CIFAR-10-C or ImageNet-C.

A set may be larger than the memory: images are made or read in parts, and those of ImageNet-C while they are judged.
"""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from datasets import Examples, Splits, StreamedExamples
from datasets.feeds import decoding
from datasets.folders import ImageFiles
from datasets.labels import draw_stratified
from errors import UserError
from evaluation.corruptions import BENCHMARK, CORRUPTIONS, SEVERITIES, check_corruption
from evaluation.test_sets import CORRUPTED, Condition, TestSet, find_folder, read_folder

_BYTES_AT_ONCE = 2**28  # of images on the device


def open_corrupted_set(
    name: str, path: str | None, config: Any, splits: Splits, severities: Sequence[int], num_examples: int
) -> TestSet:
    """Opens a set of CORRUPTED; see `test_sets.open_test_set`.

    Raises:
      UserError: when there are no images to corrupt, or files are missing or do not fit the run.
    """
    side, num_classes = CORRUPTED[name], len(splits.class_names)
    if splits.train.image_shape != (side, side, 3):
        raise UserError(f"{name} has images of {(side, side, 3)}, but the run's are {splits.train.image_shape}")
    images: GeneratedImages | CifarFiles | ImageNetFiles
    if path is not None:
        images = open_files(find_folder(path, name), splits.class_names, config.dataset.classes is not None)
    elif isinstance(splits.test, Examples):
        images = GeneratedImages(splits.test)
    else:
        problem = "has none" if splits.test is None else "streams them"
        raise UserError(f"{name} is made from test images in memory, but the run {problem}; name a folder of its files")
    labels, count = images.labels, len(images.labels)
    if images.image_shape != (side, side, 3):
        raise UserError(f"{path} has images of {images.image_shape}; those of {name} are {(side, side, 3)}")
    if labels.max() >= num_classes:
        raise UserError(f"{path} has class {labels.max()}, but the run only {num_classes} classes")
    if not 0 <= num_examples <= count:
        raise UserError(f"{num_examples} examples are asked for; {name} has {count} (0 for all)")
    rows = draw_stratified(labels, num_examples, seed=0)[0] if num_examples else np.arange(count)
    conditions = [(corruption, severity) for corruption in BENCHMARK for severity in severities]
    for condition in conditions if path else ():
        images.read(*condition, rows[:1])  # a file that is missing shows now

    def read(condition: Condition, places: np.ndarray) -> Examples | StreamedExamples:
        assert condition is not None
        return images.read(*condition, rows[places])

    return TestSet(
        labels[rows, None],
        read,
        conditions,
        at_once=None if isinstance(images, ImageNetFiles) else _BYTES_AT_ONCE // math.prod(images.image_shape),
        resize=side,
        facts={
            "source": images.source,
            "frost": images.source,  # frost that is generated is not the benchmark's
            "examples": len(rows),
            "severities": list(severities),
        },
    )


def open_files(directory: pathlib.Path, class_names: tuple[str, ...], some_classes: bool) -> CifarFiles | ImageNetFiles:
    """The benchmark's own files: CIFAR-10-C where the folder holds .npy files, otherwise ImageNet-C.

    Args:
      directory: of the files.
      class_names, some_classes: see `test_sets.read_folder`; folders of ImageNet-C are named by class.

    Raises:
      UserError: when it holds neither, or the classes are not the run's.
    """
    if any(directory.glob("*.npy")):
        return CifarFiles(directory)
    return ImageNetFiles(directory, class_names, some_classes)


class GeneratedImages:
    """A run's own test images, corrupted; the random numbers depend on the seed and the row in the source alone."""

    source = "generated"

    def __init__(self, examples: Examples, seed: int = 0):
        # SciPy, which corruptions need, takes a second to import, and files of corrupted images need none.
        from evaluation.corruptions import corrupt

        corrupt.check_images(examples.images)
        self.labels, self.image_shape = examples.labels, examples.images.shape[1:]
        self._examples, self._seed, self._corrupt = examples, seed, corrupt.corrupt_images

    def read(self, name: str, severity: int, rows: np.ndarray) -> Examples:
        """The examples of some rows with a corruption.

        Raises:
          UserError: when there is no such corruption or severity, or its file is missing or malformed.
        """
        part = self._examples.take(rows)
        return dataclasses.replace(part, images=self._corrupt(part.images, name, severity, self._seed, part.rows))


class CifarFiles:
    """CIFAR-10-C or CIFAR-100-C: `<name>.npy` uint8 `[5·N, 32, 32, 3]`, severity 1 first, and `labels.npy`."""

    source = "official"
    image_shape: tuple[int, ...] = (32, 32, 3)

    def __init__(self, directory: pathlib.Path):
        self._directory = directory
        labels = self._load("labels")
        if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer) or len(labels) % 5 or not len(labels):
            raise UserError(
                f"{directory / 'labels.npy'} holds {labels.dtype} {labels.shape}; it must hold five times N integers"
            )
        by_severity = labels.reshape(5, -1)
        if (by_severity != by_severity[0]).any():
            raise UserError(f"{directory / 'labels.npy'}: the labels of the five severities differ; they must not")
        self.labels = by_severity[0].astype(np.int32)

    def read(self, name: str, severity: int, rows: np.ndarray) -> Examples:
        """See `GeneratedImages.read`."""
        check_corruption(name, severity)
        images = self._load(name)
        expected = (len(SEVERITIES) * len(self.labels), *self.image_shape)
        if images.dtype != np.uint8 or images.shape != expected:
            raise UserError(
                f"{self._directory / name}.npy holds {images.dtype} {images.shape}; it must hold uint8 {expected}"
            )
        return Examples.of(images[(severity - 1) * len(self.labels) + rows], self.labels[rows], None)

    def _load(self, name: str) -> np.ndarray:
        file = self._directory / f"{name}.npy"
        if not file.is_file():
            raise UserError(f"there is no file {file}; CIFAR-10-C has one per corruption, and labels.npy")
        try:
            return np.load(file, mmap_mode="r")
        except (ValueError, OSError, EOFError) as error:
            raise UserError(f"{file} is not an .npy file ({error})") from None


class ImageNetFiles:
    """ImageNet-C: `[<group>/]<name>/<severity>/<wnid>/*.JPEG`, published as crops of 224 pixels.

    Every corruption has the same images under the same names, so one of them tells labels and order. Groups are the
    benchmark's, `blur`, `digital`, `extra`, `noise` and `weather`; their folders may be left out.
    """

    source = "official"
    image_shape: tuple[int, ...] = (224, 224, 3)

    def __init__(self, directory: pathlib.Path, class_names: tuple[str, ...], some_classes: bool):
        """Looks for the classes of a run; arguments are those of `test_sets.read_folder`."""
        self._directory = directory
        present = next((name for name in CORRUPTIONS if self._folder(name).is_dir()), None)
        if present is None:
            raise UserError(f"{directory} holds neither CIFAR-10-C (labels.npy) nor a folder of ImageNet-C")
        folder = min(self._folder(present).glob("[1-5]"), default=self._folder(present) / "1")
        self._examples = read_folder(folder, class_names, self.image_shape, some_classes)
        self.labels = self._examples.labels
        first = self._examples.encoded.name(0)
        try:
            shape = decoding.decode(self._examples.encoded.read(0)).shape
        except decoding.DamagedImage as error:
            raise UserError(f"{first} cannot be decoded ({error})") from None
        if shape != self.image_shape:
            raise UserError(f"{first} is {shape}; images of ImageNet-C are {self.image_shape}")

    def read(self, name: str, severity: int, rows: np.ndarray) -> StreamedExamples:
        """See `GeneratedImages.read`."""
        check_corruption(name, severity)
        files = self._examples.encoded
        assert isinstance(files, ImageFiles)
        files = files.below(self._folder(name) / str(severity))
        if len(rows) and not pathlib.Path(files.name(rows[0])).is_file():
            raise UserError(f"there is no image {files.name(rows[0])}")
        return dataclasses.replace(self._examples.take(rows), encoded=files)

    def _folder(self, name: str) -> pathlib.Path:
        in_group = self._directory / CORRUPTIONS[name] / name
        return in_group if in_group.is_dir() else self._directory / name
