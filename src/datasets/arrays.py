"""Data sets in memory: scikit-learn's digits, the arrays of an .npz file, and whatever a user's function returns."""

import dataclasses
from typing import Any

import numpy as np

from datasets.cache import Arrays
from datasets.examples import Examples, Source
from datasets.labels import draw_stratified
from errors import UserError
from extensions import describe, explain_failure, load_object


def load_digits() -> Source:
    """scikit-learn's 1,797 handwritten digits of 8×8 pixels; a fixed stratified fifth of them is the test set."""
    import sklearn.datasets

    digits = sklearn.datasets.load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)
    examples = Examples.of(images, digits.target, digits.target)
    test, train = draw_stratified(digits.target, len(examples) // 5, seed=0)
    return Source(examples.take(train), examples.take(test), tuple(str(digit) for digit in range(10)))


def load_npz(path: str | None) -> Source:
    """A file with `images`, `labels` and, if known, `clean_labels`, `test_images`, `test_labels`, `class_names`.

    Raises:
      UserError: there is no such file, an array is missing, or the arrays do not go together.
    """
    if not path:
        raise UserError("dataset.path is not set; for dataset.name=arrays it is an .npz file with images and labels")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except FileNotFoundError:
        raise UserError(f"dataset.path: there is no file {path}") from None
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"dataset.path: {path} is not an .npz file of plain arrays ({error})") from None
    try:
        train = _take_split(arrays, "")
        test = _take_split(arrays, "test_") if "test_images" in arrays else None
        labels = [array for name, array in arrays.items() if name.endswith("labels") and array.size]
        names = arrays.get("class_names", range(1 + max((int(array.max()) for array in labels), default=-1)))
        source = Source(train, test, tuple(map(str, names)))
        source.check()
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return source


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
        for split in [source.train] + [source.test] * (source.test is not None):
            if not isinstance(split, Examples):
                raise UserError(f"returned a split {describe(split)}; it must be Examples.of(images, labels)")
        source = dataclasses.replace(source, class_names=tuple(source.class_names))
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
    try:
        return Examples.of(images, labels, labels if prefix else arrays.get("clean_labels"))
    except UserError as error:
        raise UserError(f"{prefix}{error}") from None
