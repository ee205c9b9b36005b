"""Data sets in memory: scikit-learn's digits, the arrays of an .npz file, and whatever a user's function returns."""

import dataclasses
import importlib.util
import pathlib
import zipfile
from typing import Any

import numpy as np

from datasets.cache import Arrays
from datasets.examples import Examples, Source
from datasets.labels import draw_stratified
from datasets.memory import find_free_memory
from datasets.pictures import LeftOut
from errors import UserError, one_line
from extensions import describe, explain_failure, load_object

ARRAYS = (
    *("images", "labels", "clean_labels", "class_names"),
    *("val_images", "val_labels", "test_images", "test_labels"),
)
"""What an .npz file may hold; other arrays are left out."""


def load_digits() -> Source:
    """scikit-learn's 1,797 handwritten digits of 8×8 pixels; a fixed stratified fifth of them is the test set.

    Its file is read without importing scikit-learn, which takes 1.6 s.
    """
    package = importlib.util.find_spec("sklearn")
    assert package is not None
    assert package.origin is not None
    rows = np.loadtxt(pathlib.Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    images = np.round(rows[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    labels = rows[:, -1].astype(int)
    examples = Examples.of(images, labels, labels)
    test, train = draw_stratified(labels, len(examples) // 5, seed=0)
    return Source(examples.take(train), examples.take(test), tuple(str(digit) for digit in range(10)))


def load_npz(path: str | None) -> Source:
    """A file with `images`, `labels` and, if known, `clean_labels`, `class_names`, `test_images` and so on (ARRAYS).

    Without `class_names`, the labels must be all of 0 to the number of classes minus 1. Nothing is ever unpickled, and
    what would not fit into memory is refused before it is read.

    Raises:
      UserError: there is no such file, it is damaged, an array is missing, or the arrays do not go together.
    """
    if not path:
        raise UserError("dataset.path is not set; for dataset.name=arrays it is an .npz file with images and labels")
    left_out = LeftOut()
    arrays = _read_npz(pathlib.Path(path).expanduser(), left_out)
    try:
        splits = {prefix: _take_split(arrays, prefix) for prefix in _find_prefixes(arrays)}
        names = arrays["class_names"].tolist() if "class_names" in arrays else _number_classes(arrays)
        train, val, test = (splits.get(prefix) for prefix in ("", "val_", "test_"))
        assert train is not None  # or _take_split has refused it
        source = Source(train, test, tuple(map(str, names)), _continue_rows(train, val), str(left_out))
        source.check()
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return source


def _read_npz(path: pathlib.Path, left_out: LeftOut) -> Arrays:
    """The arrays of a file that are used."""
    if path.is_dir():
        raise UserError(f"dataset.path: {path} is a folder; dataset.name=folder reads image folders")
    if not path.exists():
        raise UserError(f"dataset.path: there is no file {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {member.filename.removesuffix(".npy"): member.file_size for member in archive.infolist()}
        needed, free = sum(sizes.get(name, 0) for name in ARRAYS), find_free_memory()
        if needed > free:
            raise UserError(
                f"dataset.path: the arrays in {path} take {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are "
                "free"
            )
        for name in ("images", "labels"):
            if name not in sizes:
                raise UserError(f"dataset.path: {path} has no array {name}; it holds {', '.join(sizes) or 'nothing'}")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: _read_array(file, name) for name in ARRAYS if name in sizes}
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"dataset.path: {path} cannot be read ({one_line(error)})") from None
    except Exception as error:  # zipfile, zlib and numpy raise a dozen types for what is cut off
        raise UserError(
            f"dataset.path: {path} is damaged, or not an .npz file of plain arrays ({one_line(error)})"
        ) from None
    for name in sorted(sizes.keys() - set(ARRAYS)):
        left_out.add("array of another name", name)
    return arrays


def _read_array(file: Any, name: str) -> np.ndarray:
    try:
        return file[name]
    except ValueError as error:  # an array of objects, which would have to be unpickled
        raise ValueError(f"array {name}: {one_line(error)}") from error


def _find_prefixes(arrays: Arrays) -> list[str]:
    """Of the splits of which there is anything; there must be training data."""
    return [""] + [prefix for prefix in ("val_", "test_") if {f"{prefix}images", f"{prefix}labels"} & arrays.keys()]


def _number_classes(arrays: Arrays) -> range:
    """The classes, which are all of 0 to the largest label."""
    of_each = {name: np.unique(array).tolist() for name, array in arrays.items() if name.endswith("labels")}
    found = set().union(*of_each.values())
    if found != set(range(len(found))):
        ranges = ", ".join(f"{name} in [{values[0]}, {values[-1]}]" for name, values in of_each.items() if values)
        raise UserError(
            f"{ranges}: they take {len(found)} values, which must be all of 0 to {len(found) - 1}, or class_names must "
            "name every class from 0"
        )
    return range(len(found))


def _continue_rows(train: Any, val: Any) -> Any:
    """Validation data with rows that no training example has."""
    return None if val is None else dataclasses.replace(val, rows=val.rows + len(train))


def load_external(config: Any) -> Source:
    """What the function that `dataset.name` names, as `my_module:load`, returns for `config.dataset`.

    Raises:
      UserError: there is no such function, it fails, or it returns no `Source` of `Examples` that go together.
    """
    load = load_object(config.name, "dataset.name")
    try:
        source = load(config)
        if not isinstance(source, Source):
            raise UserError(f"returned something {describe(source)}; it must return a datasets.Source")
        for split in source.splits().values():
            if not isinstance(split, Examples):
                raise UserError(f"returned a split {describe(split)}; it must be Examples.of(images, labels)")
        val = _continue_rows(source.train, source.val)
        source = dataclasses.replace(source, val=val, class_names=tuple(source.class_names))
        source.check()
    except UserError as error:
        raise UserError(f"dataset.name: {config.name}: {error}") from None
    except Exception as error:  # whatever a function of the user's raises
        raise UserError(f"dataset.name: {config.name} fails: {explain_failure(error)}") from error
    return source


def _take_split(arrays: Arrays, prefix: str) -> Examples:
    for name in (f"{prefix}images", f"{prefix}labels"):
        if name not in arrays:
            raise UserError(f"there is no array {name}; it holds {', '.join(arrays) or 'nothing'}")
    images, labels = arrays[f"{prefix}images"], arrays[f"{prefix}labels"]
    clean_labels = labels if prefix == "test_" else arrays.get(f"{prefix}clean_labels")
    try:
        return Examples.of(images, labels, clean_labels)
    except UserError as error:
        raise UserError(f"{prefix}{error}") from None
