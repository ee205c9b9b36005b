"""Where images and labels come from: scikit-learn's digits, a user's .npz file, or a data set prepared by tfds."""

import os
import pathlib
from typing import Any

import numpy as np

from datasets.cache import Arrays, cached
from datasets.examples import Examples, Source
from datasets.split import stratified
from errors import UserError


def load(config: Any) -> Source:
    """The data set that `config.dataset` names.

    Raises:
      UserError: when it is not there, or is not a classification set of images of one size.
    """
    if not config.name:
        raise UserError("dataset.name is not set; it is digits, arrays (an .npz file) or a tfds name such as cifar10")
    if config.name == "digits":
        return _digits()
    if config.name == "arrays":
        return _npz(config)
    return _tfds(config)


def _digits() -> Source:
    """scikit-learn's 1,797 handwritten digits of 8×8 pixels; a fixed stratified fifth of them is the test set."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    examples = Examples.of(images, digits.target, digits.target)
    test, train = stratified(digits.target, len(examples) // 5, seed=0)
    return Source(examples.take(train), examples.take(test), tuple(str(digit) for digit in range(10)))


def _npz(config: Any) -> Source:
    """A file with `images`, `labels` and, if known, `clean_labels`, `test_images`, `test_labels`, `class_names`."""
    if not config.path:
        raise UserError("dataset.path is not set; for dataset.name=arrays it is an .npz file with images and labels")
    try:
        with np.load(config.path, allow_pickle=False) as file:
            arrays = dict(file)
    except FileNotFoundError:
        raise UserError(f"dataset.path: there is no file {config.path}") from None
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"dataset.path: {config.path} is not an .npz file of plain arrays ({error})") from None
    names = arrays.get("class_names")
    num_classes = _count_classes(arrays, config.path) if names is None else len(names)
    train = _npz_split(arrays, "", num_classes, config.path)
    test = _npz_split(arrays, "test_", num_classes, config.path) if "test_images" in arrays else None
    if test is not None and test.images.shape[1:] != train.images.shape[1:]:
        raise UserError(
            f"{config.path}: test_images are {test.images.shape[1:]}, but images are {train.images.shape[1:]}"
        )
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


def _tfds(config: Any) -> Source:
    """A data set that tfds has prepared as array_record; reading it needs neither TensorFlow nor a network."""
    builder, directory = _tfds_builder(config)
    features, splits = builder.info.features, builder.info.splits
    for field in ("label_key", "clean_label_key"):
        if config[field] not in features:
            raise UserError(f"dataset.{field} is {config[field]!r}; {config.name} has {', '.join(features)}")
    label, clean = features[config.label_key], features[config.clean_label_key]
    num_classes, clean_classes = getattr(label, "num_classes", None), getattr(clean, "num_classes", None)
    if not num_classes or num_classes != clean_classes:
        raise UserError(
            f"dataset.label_key {config.label_key!r} has {num_classes} classes and dataset.clean_label_key "
            f"{config.clean_label_key!r} {clean_classes}; both must be class labels over the same classes"
        )
    if "train" not in splits:
        raise UserError(f"dataset.name: {config.name} has no split 'train'; it has {', '.join(splits)}")
    train = _tfds_arrays(config, builder, directory, "train")
    labels, clean_labels = train[config.label_key], train[config.clean_label_key]
    if _agree_by_chance(labels, clean_labels, num_classes):
        raise UserError(
            f"dataset.label_key: {config.label_key!r} agrees with {config.clean_label_key!r} in no more rows "
            f"({np.mean(labels == clean_labels):.0%}) than by chance; was one of them prepared in another order?"
        )
    test = next((split for split in ("test", "validation") if split in splits), None)
    test_examples = None
    if test:
        arrays = _tfds_arrays(config, builder, directory, test)
        test_labels = arrays[config.clean_label_key]
        test_examples = Examples.of(arrays["image"], test_labels, test_labels)
    return Source(Examples.of(train["image"], labels, clean_labels), test_examples, tuple(clean.names))


def _agree_by_chance(labels: np.ndarray, others: np.ndarray, num_classes: int) -> bool:
    """Whether two labellings agree as if one were shuffled: within five standard deviations of what that gives."""
    count = len(labels)
    chance = np.bincount(labels, minlength=num_classes) @ np.bincount(others, minlength=num_classes) / count**2
    return bool(np.mean(labels == others) < chance + 5 * np.sqrt(chance * (1 - chance) / count))


def _tfds_builder(config: Any) -> tuple[Any, pathlib.Path]:
    """The prepared data set's builder, from its files alone, and its directory."""
    os.environ.setdefault("NO_GCE_CHECK", "true")  # tfds would look for a cloud at import
    import tensorflow_datasets as tfds

    root = pathlib.Path(config.path or tfds.core.constants.DATA_DIR).expanduser()
    versions = [path.parent for path in (root / config.name).glob("*/dataset_info.json")]
    if not versions:
        raise UserError(
            f"dataset.name: tfds has prepared no {config.name!r} under {root}; set dataset.path to its data folder, "
            "or prepare it (README, 'Data')"
        )
    directory = max(versions, key=lambda path: [int(part) for part in path.name.split(".") if part.isdigit()])
    builder = tfds.builder_from_directory(directory)
    if builder.info.file_format != tfds.core.FileFormat.ARRAY_RECORD:
        raise UserError(
            f"dataset.name: {directory} is prepared as {builder.info.file_format.value}; it must be array_record: "
            "prepare it again (README, 'Data')"
        )
    return builder, directory


def _tfds_arrays(config: Any, builder: Any, directory: pathlib.Path, split: str) -> Arrays:
    """The images and every class label of a split, decoded once and cached."""
    files = sorted(path for path in directory.iterdir() if path.is_file())
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    fingerprint = repr((config.name, str(directory.resolve()), split, config.image_size, stats))
    return cached(f"{config.name}-{split}", fingerprint, lambda: _read_tfds(config, builder, split))


def _read_tfds(config: Any, builder: Any, split: str) -> Arrays:
    features = builder.info.features
    image_keys = [name for name, feature in features.items() if type(feature).__name__ == "Image"]
    if len(image_keys) != 1:
        raise UserError(f"dataset.name: {config.name} has {len(image_keys)} image features; it must have one")
    label_keys = [name for name, feature in features.items() if type(feature).__name__ == "ClassLabel"]
    source = builder.as_data_source(split=split)
    images, labels = [], {name: np.empty(len(source), np.int32) for name in label_keys}
    chunk = 1000
    for start in range(0, len(source), chunk):
        examples = source.__getitems__(list(range(start, min(start + chunk, len(source)))))
        images += [_resized(example[image_keys[0]], config.image_size) for example in examples]
        for name in label_keys:
            labels[name][start : start + chunk] = [example[name] for example in examples]
    shapes = {image.shape for image in images}
    if len(shapes) != 1:
        raise UserError(
            f"dataset.name: the images of {config.name} differ in shape ({len(shapes)} shapes, such as "
            f"{' and '.join(map(str, sorted(shapes)[:2]))}); set dataset.image_size to resize them all"
        )
    return {"image": np.stack(images), **labels}


def _resized(image: np.ndarray, size: int | None) -> np.ndarray:
    if size is None or image.shape[:2] == (size, size):
        return image
    import cv2

    shrinking = size < min(image.shape[:2])
    resized = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)
    return resized.reshape(size, size, image.shape[-1])
