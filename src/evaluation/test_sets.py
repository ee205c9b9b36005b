"""Test sets beyond a run's own: which there are, how they are opened, and which classes are right for their images.

Corrupted images are in `corrupted_sets`. Here are sets that are judged as they are: folders of classes, sets that tfds
has prepared, and ImageNet with reassessed labels (ReaL). Their images are cropped as the run's own test images are.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from datasets import Examples, Splits, StreamedExamples
from datasets.folders import ImageFiles
from datasets.pictures import LeftOut, find_pictures
from datasets.tfds import load_test_split
from errors import UserError
from evaluation.corruptions import SEVERITIES
from parallel.processes import is_main

CORRUPTED = {"cifar10_c": 32, "imagenet_c": 224}  # the side of their images
REAL = "imagenet_real"
_VALIDATION_IMAGE = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG$")

Condition = tuple[str, int] | None
"""A corruption and its severity; None for images as they are."""


@dataclasses.dataclass(frozen=True)
class TestSet:
    """Images to judge checkpoints on, as they are or with several corruptions.

    Attributes:
      answers: int32 `[N, most]`, the right classes of each image, padded with -1.
      read: gives the examples at some of the N places under a condition.
      conditions: every image is judged under each.
      at_once: how many images fit on the device; None where they are streamed.
      resize: side that images are resized to before their central crop; None for `dataset.stream.resize`.
      facts: what the results say of the set besides its accuracies.
    """

    __test__ = False  # or pytest takes the class for a test

    answers: np.ndarray
    read: Callable[[Condition, np.ndarray], Examples | StreamedExamples]
    conditions: Sequence[Condition] = (None,)
    at_once: int | None = None
    resize: int | None = None
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, examples: Examples | StreamedExamples, answers: np.ndarray | None = None) -> TestSet:
        """Images as they are; their labels are right unless other answers are given."""
        return cls(examples.labels[:, None] if answers is None else answers, lambda condition, places: examples)


def open_requested(config: Any, splits: Splits) -> dict[str, TestSet]:
    """The test sets that `config.evaluate` names, by name.

    Raises:
      UserError: when one is missing or does not fit the run.
    """
    return {name: open_test_set(name, config.evaluate_path, config, splits) for name in config.evaluate}


def open_test_set(
    name: str,
    path: str | None,
    config: Any,
    splits: Splits,
    severities: Sequence[int] | None = None,
    num_examples: int = 0,
) -> TestSet:
    """Finds a test set and checks that it fits a run.

    Args:
      name: `cifar10_c`, `imagenet_c`, `imagenet_real`, a set that tfds has prepared in `path`, such as
        `imagenet_v2/matched-frequency`, or a folder of class folders in `path`, such as `imagenet_v2`.
      path: the folder that holds the set's folder, or the set's folder itself; None to corrupt the run's own images.
      config: of the run.
      splits: of the run.
      severities: of corruptions; None for all five.
      num_examples: images per corruption and severity, a stratified part of the set; 0 for all.

    Raises:
      UserError: when the set is missing or does not fit the run.
    """
    if name in CORRUPTED:
        from evaluation.corrupted_sets import open_corrupted_set

        return open_corrupted_set(name, path, config, splits, severities or SEVERITIES, num_examples)
    if severities or num_examples:
        raise UserError(f"--severities and --examples are for corruptions; {name} is evaluated whole")
    if path is None:
        raise UserError(
            f"there is no further test set {name!r}; there are {', '.join(CORRUPTED)} and, with evaluate_path set, "
            f"{REAL} and the folders of classes in it"
        )
    if not isinstance(splits.train, StreamedExamples):
        raise UserError(f"{name} is for runs with dataset.feed=stream, whose images are cropped as they are read")
    if name == REAL:
        if not isinstance(splits.test, StreamedExamples):
            raise UserError(f"{name} is about the run's own test images, and this data set has none")
        return read_real(find_folder(path, name), splits.test, splits.class_names)
    fitting = (splits.class_names, splits.train.image_shape, config.dataset.classes is not None)
    prepared = read_tfds(name, path, *fitting)
    return TestSet.of(read_folder(find_folder(path, name), *fitting) if prepared is None else prepared)


def find_folder(path: str, name: str) -> pathlib.Path:
    """The folder of a set: the one of its name in `path`, or `path` itself.

    Raises:
      UserError: when there is neither.
    """
    inner = pathlib.Path(path).expanduser() / name
    folder = inner if inner.is_dir() else inner.parent
    if not folder.is_dir():
        raise UserError(f"evaluate_path: there is no folder {path}")
    return folder


def read_folder(
    folder: pathlib.Path, class_names: tuple[str, ...], image_shape: tuple[int, ...], some_classes: bool
) -> StreamedExamples:
    """Images in folders named like the run's classes or, as ImageNet-V2 is published, by their numbers.

    Args:
      folder: `<class>/<image>`.
      class_names: of the run.
      image_shape: that the images are cropped to.
      some_classes: the run has only some classes of its data set, and folders of the others are left out.

    Raises:
      UserError: when a folder is no class of the run, holds no images, or there are none.
    """
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    known = {name: label for label, name in enumerate(class_names)}
    if names and not known.keys() & set(names) and all(name.isdecimal() for name in names):
        if some_classes or class_names != tuple(sorted(class_names)):
            raise UserError(
                f"the class folders in {folder} are numbered, but this run does not have all classes in the order "
                "of their names; scripts/prepare/imagenet_v2.py renames the folders"
            )
        known = {name: int(name) for name in names if int(name) < len(class_names)}
    foreign = [name for name in names if name not in known]
    if foreign and not some_classes:
        raise UserError(
            f"{folder / foreign[0]} is no class of the run, whose classes are {_abridge(class_names)} (docs/data.md)"
        )
    files, left_out = [], LeftOut()
    labels: list[int] = []
    for name in names:
        if name in known:
            inside = find_pictures(folder, left_out, name)
            if not inside:
                raise UserError(f"{folder / name} holds no images")
            files += inside
            labels += [known[name]] * len(inside)
    if left_out and is_main():
        print(f"{folder}: left out: {left_out}", file=sys.stderr)
    if not files:
        raise UserError(f"{folder} holds no folders of the run's classes, which are {_abridge(class_names)}")
    return StreamedExamples.of(ImageFiles(folder, files), np.array(labels), image_shape[0])


def read_tfds(
    name: str, root: str, class_names: tuple[str, ...], image_shape: tuple[int, ...], some_classes: bool
) -> StreamedExamples | None:
    """The images of a set that tfds has prepared in `root`, with the run's classes; None where it has prepared none.

    The other arguments are those of `read_folder`.

    Raises:
      UserError: when it has a class that the run lacks, or no images of the run's classes.
    """
    found = load_test_split(name, root, image_shape[0])
    if found is None:
        return None
    examples, names = found
    foreign = sorted(set(names) - set(class_names))
    if foreign and not some_classes:
        raise UserError(f"{name} has a class {foreign[0]}; the run's classes are {_abridge(class_names)}")
    known = {name: label for label, name in enumerate(class_names)}
    label_of = np.array([known.get(name, -1) for name in names])
    kept = examples.take(np.flatnonzero(label_of[examples.labels] >= 0))
    if not len(kept):
        raise UserError(f"{name} has no images of the run's classes, which are {_abridge(class_names)}")
    return dataclasses.replace(kept, labels=label_of[kept.labels].astype(np.int32))


def read_real(folder: pathlib.Path, test: StreamedExamples, class_names: tuple[str, ...]) -> TestSet:
    """ImageNet's validation images with all the classes that `real.json` says they show (ReaL, arXiv 2006.07159).

    Its lists are in the order of the images' numbers, ILSVRC2012_val_00000001.JPEG first. Images with an empty list are
    left out.

    Args:
      folder: of `real.json`.
      test: the run's test set, ImageNet's validation images.
      class_names: of the run, in the order of the WordNet ids.

    Raises:
      UserError: when the file is missing or does not fit the run's test set and classes.
    """
    file = folder / "real.json"
    try:
        lists = json.loads(file.read_text())
    except FileNotFoundError:
        raise UserError(f"there is no {file}; scripts/prepare/imagenet_real.py puts it there") from None
    except ValueError as error:
        raise UserError(f"{file} is not JSON ({error})") from None
    if class_names != tuple(sorted(class_names)):
        raise UserError(f"{REAL} needs classes in the order of their names, but the run's are {_abridge(class_names)}")
    numbers = [_validation_number(test.encoded.name(row)) for row in test.rows.tolist()]
    if sorted(numbers) != list(range(1, len(lists) + 1)):
        raise UserError(
            f"{file} is about images 1 to {len(lists)}, but the run's test set has {len(numbers)}, "
            f"{min(numbers)} to {max(numbers)}"
        )
    answers = np.full((len(numbers), max(map(len, lists))), -1, np.int32)
    for row, number in enumerate(numbers):
        answers[row, : len(lists[number - 1])] = lists[number - 1]
    if answers.max() >= len(class_names):
        raise UserError(f"{file} has class {answers.max()}, but the run only {len(class_names)} classes")
    labelled = np.flatnonzero((answers >= 0).any(axis=1))
    return TestSet.of(test.take(labelled), answers[labelled])


def _validation_number(name: str) -> int:
    match = _VALIDATION_IMAGE.search(name)
    if match is None:
        raise UserError(f"{REAL} needs test images named ILSVRC2012_val_*.JPEG, but one is {name}")
    return int(match[1])


def _abridge(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
