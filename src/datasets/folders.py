"""Image folders: a directory per class, alone or in directories named after the splits."""

from __future__ import annotations

import copy
import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from datasets.examples import Source, StreamedExamples
from datasets.pictures import LeftOut, describe_kind, find_pictures, is_folder, read_file, scan
from errors import UserError

SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""Names of directories, in any case, and which split they hold; those of torchvision's users and of Hugging Face."""
_Listed = tuple[list[str], np.ndarray]  # names and labels of pictures
_SPLIT_OF = {name: split for split, names in SPLITS.items() for name in names}


class ImageFiles:
    """The files of a folder as `EncodedImages`."""

    def __init__(self, root: pathlib.Path, names: Sequence[str]):
        """Files by their names in `root`."""
        self._root = root
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
        return read_file(self.name(row))

    def name(self, row: int) -> str:
        """See `EncodedImages.name`."""
        return os.path.join(self._root, os.fsdecode(self._names[row]))

    def paths(self, rows: np.ndarray) -> np.ndarray:
        """See `EncodedImages.paths`."""
        return self._names[rows]


def load(path: str | None, image_size: int, test_split: str | None = None) -> Source:
    """Finds the splits, classes and pictures of a folder.

    Classes are numbered in the order of their names, as WordNet ids are. The pictures of a class lie in its directory,
    at any depth. Nobody knows whether the labels of training and validation are right, so they have no clean ones;
    those of the test pictures count as clean.

    Args:
      path: a folder that holds a directory of classes per split, named as in SPLITS; or one that holds the classes
        themselves, whose pictures are all trained on.
      image_size: pixels; side of the crops.
      test_split: the split to test on, by one of its names, such as `validation` for ImageNet; None: test.

    Raises:
      UserError: the folder is missing, it is not clear what its directories are, a class has no pictures, or a split
        has other classes than training.
    """
    if not path:
        raise UserError("dataset.path is not set; for dataset.name=folder it is a folder with a directory per class")
    root = pathlib.Path(path).expanduser()
    if root.is_file():
        raise UserError(f"dataset.path: {root} is a file; dataset.name=arrays reads .npz files")
    if not root.is_dir():
        raise UserError(
            f"dataset.path: there is no folder {root}; scripts/prepare makes ImageNet's and others (docs/data.md)"
        )
    left_out = LeftOut()
    splits = _choose_test_split(root, _find_splits(root, left_out), test_split, left_out)
    train = root / splits["train"]
    class_names = _list_directories(train, left_out)
    if not class_names:
        raise UserError(f"dataset.path: {train} holds no directories; it must hold one per class")
    for split, folder in splits.items():
        if split != "train":
            _check_same_classes(class_names, train, root / folder, left_out)
    listed = {split: _list_pictures(root, folder, class_names, left_out) for split, folder in splits.items()}
    train_split, val = _join(root, listed["train"], listed.get("val"), image_size)
    test = None
    if "test" in listed:
        names, labels = listed["test"]
        inside = len(f"{splits['test']}/")
        files = ImageFiles(root / splits["test"], [name[inside:] for name in names])
        test = StreamedExamples.of(files, labels, image_size)
    return Source(train_split, test, tuple(class_names), val, str(left_out))


def _join(
    root: pathlib.Path, train: _Listed, val: _Listed | None, image_size: int
) -> tuple[StreamedExamples, StreamedExamples | None]:
    """Training and validation data as parts of one source, so that no row of it belongs to both."""
    names, labels = train if val is None else (train[0] + val[0], np.concatenate([train[1], val[1]]))
    both = dataclasses.replace(StreamedExamples.of(ImageFiles(root, names), labels, image_size), clean_labels=None)
    first, second = np.split(np.arange(len(names)), [len(train[0])])
    return both.take(first), None if val is None else both.take(second)


def _find_splits(root: pathlib.Path, left_out: LeftOut) -> dict[str, str]:
    """The directories that hold splits, by split; only `train`, and no name, where the directories are classes."""
    found: dict[str, list[str]] = {}
    others: list[str] = []
    for name in _list_directories(root):
        split = _SPLIT_OF.get(name.lower())
        (others if split is None else found.setdefault(split, [])).append(name)
    if not _are_splits(root, found, others):
        return {"train": ""}
    for split, names in found.items():
        if len(names) > 1:
            raise UserError(f"dataset.path: {root} holds {names[0]} and {names[1]}, which both mean {split}; keep one")
    if "train" not in found:
        raise UserError(
            f"dataset.path: {root} holds {next(iter(found.values()))[0]}, but no directory of training data beside it; "
            "it must be called train"
        )
    _list_directories(root, left_out)
    for name in others:
        left_out.add("directory beside the splits", name)
    return {split: found[split][0] for split in SPLITS if split in found}


def _are_splits(root: pathlib.Path, found: Mapping[str, Sequence[str]], others: Sequence[str]) -> bool:
    """Whether directories that are named after splits hold them, and are not classes among others.

    They do if there are no others. Otherwise `train` must hold directories, and so must another split, or the others
    must hold no pictures themselves. Without `train`, they are splits if they hold directories of the others' names.
    """
    if not found or not others:
        return bool(found)
    inside = {split: {name for folder in found[split] for name in _list_directories(root / folder)} for split in found}
    if "train" not in found:
        return any(names & set(others) for names in inside.values())
    with_classes = [split for split, names in inside.items() if names]
    return "train" in with_classes and (
        len(with_classes) > 1 or not any(_holds_pictures(root / name) for name in others)
    )


def _choose_test_split(
    root: pathlib.Path, splits: dict[str, str], asked: str | None, left_out: LeftOut
) -> dict[str, str]:
    """The splits as they are used: if the config asks to test on the validation data, they are `test`."""
    split = "test" if asked is None else _SPLIT_OF.get(asked.lower())
    if split not in ("val", "test"):
        names = ", ".join((*SPLITS["val"], *SPLITS["test"]))
        raise UserError(f"dataset.test_split is {asked!r}; of a folder it must be one of {names}")
    if asked is not None and split not in splits and len(splits) > 1:
        raise UserError(
            f"dataset.test_split is {asked!r}, but {root} holds {', '.join(splits.values())}; it must be one of these"
        )
    if split == "test" or "val" not in splits:
        return splits
    if "test" in splits:
        left_out.add("split that dataset.test_split does not name", splits["test"])
    return {"train": splits["train"], "test": splits["val"]}


def _list_directories(folder: pathlib.Path, left_out: LeftOut | None = None) -> list[str]:
    """The directories in a folder by name; what is hidden, and what is no directory, is left out."""
    names = []
    for entry in scan(os.fspath(folder)):
        hidden = entry.name.startswith(".")
        if not hidden and is_folder(entry):
            names.append(entry.name)
        elif left_out is not None:
            left_out.add("hidden" if hidden else "outside the classes", os.path.join(folder.name, entry.name))
    return sorted(names)


def _holds_pictures(folder: pathlib.Path) -> bool:
    return any(not is_folder(entry) and describe_kind(entry) is None for entry in scan(os.fspath(folder)))


def _check_same_classes(
    class_names: Sequence[str], train: pathlib.Path, other: pathlib.Path, left_out: LeftOut
) -> None:
    found = _list_directories(other, left_out)
    if not found:
        raise UserError(
            f"dataset.path: {other} holds no directories; it must hold one per class (ImageNet's validation images "
            "come without any: scripts/prepare/imagenet.py sorts them, docs/data.md)"
        )
    for names, what in ((set(found) - set(class_names), "has"), (set(class_names) - set(found), "lacks")):
        if names:
            some = ", ".join(sorted(names)[:3])
            raise UserError(
                f"dataset.path: {other} {what} {len(names)} class(es) other than {train} ({some}); both must hold the "
                "same directories"
            )


def _list_pictures(root: pathlib.Path, folder: str, class_names: Sequence[str], left_out: LeftOut) -> _Listed:
    """The pictures of a split by their names in `root`, class by class, and their labels."""
    names: list[str] = []
    counts = []
    for class_name in class_names:
        pictures = find_pictures(root, left_out, os.path.join(folder, class_name))
        if not pictures:
            others = f" (left out so far: {left_out})" if left_out else ""
            raise UserError(
                f"dataset.path: {root / folder / class_name} holds no pictures; remove it or fill it{others}"
            )
        names += pictures
        counts.append(len(pictures))
    return names, np.repeat(np.arange(len(class_names), dtype=np.int32), counts)
