"""Image folders: a directory per class, with `train` and `val` side by side where there are both."""

from __future__ import annotations

import copy
import dataclasses
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from datasets.examples import Source, StreamedExamples
from errors import UserError

SUFFIXES = (".jpeg", ".jpg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
TEST_FOLDERS = ("val", "validation", "test")


class ImageFiles:
    """The files of a folder as `EncodedImages`."""

    def __init__(self, root: pathlib.Path, names: Sequence[str], inside: str = ""):
        """Files by their names in `root`, which is `inside` the folder that the user has named."""
        self._root, self._inside = root, inside
        self._names = np.array(
            [os.fsencode(name) for name in names]
        )  # takes a tenth of the memory of strings, also when pickled

    def below(self, root: pathlib.Path) -> ImageFiles:
        """The files of the same names in another folder."""
        files = copy.copy(self)
        files._root = root
        return files

    def __len__(self) -> int:
        return len(self._names)

    def read(self, row: int) -> bytes:
        """See `EncodedImages.read`."""
        with open(self.name(row), "rb", buffering=0) as file:  # holds Python's lock a third less long
            return file.read()

    def name(self, row: int) -> str:
        """See `EncodedImages.name`."""
        return os.path.join(self._root, os.fsdecode(self._names[row]))

    def paths(self, rows: np.ndarray) -> np.ndarray:
        """See `EncodedImages.paths`."""
        return np.char.add(os.fsencode(os.path.join(self._inside, "")), self._names[rows])


def load(path: str | None, image_size: int) -> Source:
    """Finds the classes and images of a folder; classes are numbered in the order of their names, as WordNet ids are.

    Nobody knows whether the labels of the training images are right, so they have no clean ones; those of the test
    images count as clean.

    Args:
      path: a folder that holds `train`, and `val`, `validation` or `test` to test on; or one that holds the classes
        themselves, without test data.
      image_size: pixels; side of the crops.

    Raises:
      UserError: the folder is missing, a class has no images, or the test folder has other classes.
    """
    if not path:
        raise UserError("dataset.path is not set; for dataset.name=folder it is a folder with a directory per class")
    root = pathlib.Path(path).expanduser()
    if not root.is_dir():
        raise UserError(
            f"dataset.path: there is no folder {root}; scripts/prepare makes ImageNet's and others (docs/data.md)"
        )
    train = root / "train" if (root / "train").is_dir() else root
    class_names = _list_directories(train)
    if not class_names:
        raise UserError(f"dataset.path: {train} holds no directories; it must hold one per class")
    beside = () if train is root else (root / name for name in TEST_FOLDERS)
    test = next((folder for folder in beside if folder.is_dir()), None)
    if test is not None:
        _check_same_classes(class_names, test)
    test_split = None if test is None else _read_split(test, class_names, image_size)
    inside = "" if train is root else train.name
    train_split = _read_split(train, class_names, image_size, inside)
    return Source(dataclasses.replace(train_split, clean_labels=None), test_split, tuple(class_names))


def _list_directories(folder: pathlib.Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def _check_same_classes(class_names: Sequence[str], test: pathlib.Path) -> None:
    found = _list_directories(test)
    if not found:
        raise UserError(
            f"dataset.path: {test} holds no directories; it must hold one per class (ImageNet's validation images come "
            "without any: scripts/prepare/imagenet.py sorts them, docs/data.md)"
        )
    for names, what in ((set(found) - set(class_names), "has"), (set(class_names) - set(found), "lacks")):
        if names:
            some = ", ".join(sorted(names)[:3])
            raise UserError(
                f"dataset.path: {test} {what} {len(names)} class(es) other than {test.parent / 'train'} ({some}); "
                "both must hold the same directories"
            )


def _read_split(
    folder: pathlib.Path, class_names: Sequence[str], image_size: int, inside: str = ""
) -> StreamedExamples:
    names: list[str] = []
    counts = []
    for class_name in class_names:
        with os.scandir(folder / class_name) as entries:
            images = sorted(
                entry.name
                for entry in entries
                if entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith(".")
            )
        if not images:
            raise UserError(
                f"dataset.path: {folder / class_name} holds no images ({', '.join(SUFFIXES)}); remove it or fill it"
            )
        names += [f"{class_name}/{name}" for name in images]
        counts.append(len(images))
    labels = np.repeat(np.arange(len(class_names), dtype=np.int32), counts)
    return StreamedExamples.of(ImageFiles(folder, names, inside), labels, image_size)
