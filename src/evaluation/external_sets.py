"""Further test sets of images: folders of classes, tfds sets, and ImageNet with reassessed labels (ReaL).

Their images are cropped as those of the run's own test set are.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
from collections.abc import Sequence

import numpy as np

from datasets.examples import StreamedExamples
from datasets.folders import ImageFiles
from datasets.tfds import load_test_split
from errors import UserError

REAL = "imagenet_real"
_NUMBERED = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG$")


@dataclasses.dataclass(frozen=True)
class ExternalSet:
    """A test set in which more than one answer may be right.

    Attributes:
      examples: its images.
      answers: for each of them the classes that are right, at least one.
    """

    examples: StreamedExamples
    answers: Sequence[frozenset[int]]


def find_folder(path: str, name: str) -> pathlib.Path:
    """The folder of a set: the one of its name in `path`, or `path` itself.

    Raises:
      UserError: when there is neither.
    """
    inner = pathlib.Path(path) / name
    folder = inner if inner.is_dir() else inner.parent
    if not folder.is_dir():
        raise UserError(f"evaluate_path: there is no folder {path}")
    return folder


def folder_of_classes(
    folder: pathlib.Path, class_names: tuple[str, ...], image_shape: tuple[int, int, int], part: bool
) -> ExternalSet:
    """A set in folders called like the run's classes or, as ImageNet-V2 is published, like their numbers.

    Args:
      folder: `<class>/<image>`.
      class_names: of the run.
      image_shape: that the images are cropped to.
      part: the run has only some classes of its data set; the others' folders are left out.

    Raises:
      UserError: when a folder is no class of the run, holds no images, or there are none.
    """
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    known = {name: label for label, name in enumerate(class_names)}
    if names and not known.keys() & set(names) and all(name.isdecimal() for name in names):
        if part or class_names != tuple(sorted(class_names)):
            raise UserError(
                f"{folder} has numbers for classes, and the run not all classes in the order of their names; "
                "scripts/prepare/imagenet_v2.py gives them names"
            )
        known = {name: int(name) for name in names if int(name) < len(class_names)}
    foreign = [name for name in names if name not in known]
    if foreign and not part:
        raise UserError(
            f"{folder / foreign[0]} is no class of the run, whose classes are {_some(class_names)} (docs/data.md)"
        )
    files: list[str] = []
    labels: list[int] = []
    for name in names:
        if name in known:
            inside = sorted(path.name for path in (folder / name).iterdir() if path.is_file())
            if not inside:
                raise UserError(f"{folder / name} holds no images")
            files += [f"{name}/{file}" for file in inside]
            labels += [known[name]] * len(inside)
    if not files:
        raise UserError(f"{folder} holds no folders of the run's classes, which are {_some(class_names)}")
    return _with_one_answer(StreamedExamples.of(ImageFiles(folder, files), np.array(labels), image_shape[0]))


def prepared_by_tfds(
    name: str, root: str, class_names: tuple[str, ...], image_shape: tuple[int, int, int], part: bool
) -> ExternalSet | None:
    """A set that tfds has prepared in `root`, with the run's classes; None where there is none of that name.

    The other arguments, and when a UserError is raised, are as in `folder_of_classes`.
    """
    found = load_test_split(name, root, image_shape[0])
    if found is None:
        return None
    examples, names = found
    foreign = sorted(set(names) - set(class_names))
    if foreign and not part:
        raise UserError(f"{name} has a class {foreign[0]}; the run's classes are {_some(class_names)}")
    known = {name: label for label, name in enumerate(class_names)}
    position = np.array([known.get(name, -1) for name in names])
    kept = examples.take(np.flatnonzero(position[examples.labels] >= 0))
    return _with_one_answer(dataclasses.replace(kept, labels=position[kept.labels]))


def _with_one_answer(examples: StreamedExamples) -> ExternalSet:
    return ExternalSet(examples, [frozenset([label]) for label in examples.labels.tolist()])


def reassessed(folder: pathlib.Path, test: StreamedExamples, class_names: tuple[str, ...]) -> ExternalSet:
    """ImageNet's validation images with all the classes that `real.json` says they show (ReaL, arXiv 2006.07159).

    Its lists are in the order of the images' numbers, ILSVRC2012_val_00000001.JPEG first. Images for which the list is
    empty are left out.

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
        raise UserError(f"{REAL} needs classes in the order of their names, but the run's are {_some(class_names)}")
    numbers = [_number(test.encoded.name(row)) for row in test.rows.tolist()]
    if sorted(numbers) != list(range(1, len(lists) + 1)):
        raise UserError(
            f"{file} is about images 1 to {len(lists)}, but the run's test set has {len(numbers)}, "
            f"{min(numbers)} to {max(numbers)}"
        )
    answers = [frozenset(lists[number - 1]) for number in numbers]
    highest = max(label for labels in answers for label in labels)
    if highest >= len(class_names):
        raise UserError(f"{file} has class {highest}, but the run only {len(class_names)} classes")
    labelled = np.flatnonzero([bool(labels) for labels in answers])
    return ExternalSet(test.take(labelled), [answers[row] for row in labelled])


def _number(name: str) -> int:
    match = _NUMBERED.search(name)
    if match is None:
        raise UserError(f"{REAL} needs the test images to be called ILSVRC2012_val_*.JPEG, but one is {name}")
    return int(match[1])


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
