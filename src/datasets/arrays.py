"""Data sets that are in memory anyway: scikit-learn's digits, and the arrays of an .npz file."""

import numpy as np

from datasets.cache import Arrays
from datasets.examples import Examples, Source
from datasets.labels import draw_stratified
from errors import UserError


def load_digits() -> Source:
    """scikit-learn's 1,797 handwritten digits of 8×8 pixels; a fixed stratified fifth of them is the test set."""
    import sklearn.datasets

    digits = sklearn.datasets.load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    examples = Examples.of(images, digits.target, digits.target)
    test, train = draw_stratified(digits.target, len(examples) // 5, seed=0)
    return Source(examples.take(train), examples.take(test), tuple(str(digit) for digit in range(10)))


def load_npz(path: str | None) -> Source:
    """A file with `images`, `labels` and, if known, `clean_labels`, `test_images`, `test_labels`, `class_names`."""
    if not path:
        raise UserError("dataset.path is not set; for dataset.name=arrays it is an .npz file with images and labels")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except FileNotFoundError:
        raise UserError(f"dataset.path: there is no file {path}") from None
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"dataset.path: {path} is not an .npz file of plain arrays ({error})") from None
    names = arrays.get("class_names")
    num_classes = _count_classes(arrays, path) if names is None else len(names)
    train = _npz_split(arrays, "", num_classes, path)
    test = _npz_split(arrays, "test_", num_classes, path) if "test_images" in arrays else None
    if test is not None and test.images.shape[1:] != train.images.shape[1:]:
        raise UserError(f"{path}: test_images are {test.images.shape[1:]}, but images are {train.images.shape[1:]}")
    return Source(train, test, tuple(str(name) for name in (range(num_classes) if names is None else names)))


def _count_classes(arrays: Arrays, path: str) -> int:
    labels = [array for name, array in arrays.items() if name.endswith("labels") and array.size]
    if not all(np.issubdtype(array.dtype, np.integer) for array in labels):
        raise UserError(f"{path}: labels must be integers, class indices from 0")
    return max((int(array.max()) + 1 for array in labels), default=0)


def _npz_split(arrays: Arrays, prefix: str, num_classes: int, path: str) -> Examples:
    for name in (f"{prefix}images", f"{prefix}labels"):
        if name not in arrays:
            raise UserError(f"{path}: there is no array {name}; it holds {', '.join(arrays) or 'nothing'}")
    images, labels = arrays[f"{prefix}images"], arrays[f"{prefix}labels"]
    if images.ndim == 3:
        images = images[..., None]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise UserError(
            f"{path}: {prefix}images are {images.dtype} {images.shape}; they must be uint8 [N, height, width, 1 or 3]"
        )
    clean = arrays.get("clean_labels") if not prefix else labels
    for name, array in ((f"{prefix}labels", labels), ("clean_labels", clean)):
        if array is not None:
            _check_labels(array, len(images), num_classes, f"{path}: {name}")
    return Examples.of(images, labels, clean)


def _check_labels(labels: np.ndarray, count: int, num_classes: int, where: str) -> None:
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(f"{where} are {labels.dtype} {labels.shape}; they must be {count} integers, one per image")
    if count == 0:
        raise UserError(f"{where} are empty; there must be at least one image")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise UserError(f"{where} lie in [{labels.min()}, {labels.max()}]; they must lie in [0, {num_classes})")
