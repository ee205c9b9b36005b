"""Data sets that tfds has prepared as array_record; reading them needs neither TensorFlow nor a network."""

import difflib
import json
import os
import pathlib
import sys
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from datasets.cache import Arrays, read_through_cache
from datasets.examples import Examples, Source, StreamedExamples
from errors import UserError, one_line

_PREPARE_AGAIN = "delete the folder and let tfds prepare it again (docs/data.md)"


def load(config: Any) -> Source:
    """Loads the data set that `config.dataset` names.

    Raises:
      UserError: tfds has not prepared it as array_record, or a split or feature that the config names is missing.
    """
    builder, directory = _open_builder(config)
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
    test = config.test_split or next((split for split in ("test", "validation") if split in splits), None)
    if test is not None and test not in splits:
        raise UserError(f"dataset.test_split is {test!r}; {config.name} has {', '.join(splits)}")
    train = _load_split(config, builder, directory, "train", config.label_key)
    assert train.clean_labels is not None
    if _agrees_by_chance(train.labels, train.clean_labels, num_classes):
        raise UserError(
            f"dataset.label_key: {config.label_key!r} agrees with {config.clean_label_key!r} in no more rows "
            f"({np.mean(train.labels == train.clean_labels):.0%}) than by chance; was one prepared in another order?"
        )
    test_examples = _load_split(config, builder, directory, test, config.clean_label_key) if test else None
    return Source(train, test_examples, tuple(clean.names))


def load_test_split(name: str, root: str, image_size: int) -> tuple[StreamedExamples, tuple[str, ...]] | None:
    """The images of a set that is used for testing only, and the names of its classes.

    Args:
      name: in tfds, with its config if it has some, such as `imagenet_v2/matched-frequency`.
      root: a tfds data folder.
      image_size: pixels; side of the crops.

    Returns:
      None where tfds has prepared no such set.

    Raises:
      UserError: it is not prepared as array_record, or has no images with labels to test on.
    """
    if not any((pathlib.Path(root).expanduser() / name).glob("*/dataset_info.json")):
        return None
    config = _TestSet(name, root, image_size)
    builder, directory = _open_builder(config)
    split = next((split for split in ("test", "validation") if split in builder.info.splits), None)
    names = getattr(dict(builder.info.features.items()).get("label"), "names", None)
    if split is None or names is None:
        raise UserError(f"evaluate: {directory} has no test split with class labels")
    return _load_split(config, builder, directory, split, "label"), tuple(names)


class _TestSet(NamedTuple):
    """The fields of `config.dataset` that reading needs, for a set that is used for testing only."""

    name: str
    path: str
    image_size: int
    feed: str = "stream"
    clean_label_key: str = "label"


class TfdsImages:
    """The images of a split as `EncodedImages`; their names are file names or, where there are none, numbers."""

    def __init__(self, name: str, builder: Any, split: str, file_names: np.ndarray | None):
        self._source, self._image_key = _open_encoded(builder, split), _image_key(name, builder)
        self._name, self._file_names = f"{name} {split}", file_names

    def __len__(self) -> int:
        return len(self._source)

    def read(self, row: int) -> bytes:
        """See `EncodedImages.read`."""
        try:
            return self._source[row][self._image_key]
        except RuntimeError as error:  # what array_record raises for a damaged file
            raise OSError(one_line(error)) from None

    def name(self, row: int) -> str:
        """See `EncodedImages.name`."""
        return f"{self._name}[{row}]" if self._file_names is None else f"{self._name} {self._file_names[row].decode()}"

    def paths(self, rows: np.ndarray) -> None:
        """See `EncodedImages.paths`."""


def _load_split(config: Any, builder: Any, directory: pathlib.Path, split: str, label_key: str) -> Any:
    """The split in memory or, if it is streamed, its files with their labels."""
    if not builder.info.splits[split].num_examples:
        raise UserError(f"dataset.name: the split {split!r} of {config.name} is empty")
    try:
        arrays = _read_cached(config, builder, directory, split)
    except (RuntimeError, OSError) as error:  # what array_record raises for a damaged or missing file
        raise UserError(
            f"dataset.name: the split {split!r} in {directory} cannot be read ({one_line(error)}); {_PREPARE_AGAIN}"
        ) from None
    labels, clean_labels = arrays[label_key], arrays[config.clean_label_key]
    num_classes = builder.info.features[label_key].num_classes
    for key, values in ((label_key, labels), (config.clean_label_key, clean_labels)):
        if values.min() < 0 or values.max() >= num_classes:
            raise UserError(
                f"dataset.name: {key!r} of the split {split!r} of {config.name} lies in [{values.min()}, "
                f"{values.max()}]; it must lie in [0, {num_classes}), so this split has no labels, or is damaged"
            )
    if config.feed != "stream":
        return Examples.of(arrays["image"], labels, clean_labels)
    images = TfdsImages(config.name, builder, split, arrays.get("file_name"))
    return StreamedExamples.of(images, labels, config.image_size, clean_labels)


def _agrees_by_chance(labels: np.ndarray, others: np.ndarray, num_classes: int) -> bool:
    """Whether two labellings agree no more than shuffled ones would, give or take five standard deviations."""
    count = len(labels)
    chance = np.bincount(labels, minlength=num_classes) @ np.bincount(others, minlength=num_classes) / count**2
    return bool(np.mean(labels == others) < chance + 5 * np.sqrt(chance * (1 - chance) / count))


def find_prepared(config: Any) -> pathlib.Path:
    """The newest version of the data set that `config.dataset` names; tfds is not imported for it.

    Raises:
      UserError: tfds has prepared no such set; with a name that is like it.
    """
    root = _data_folder(config)
    versions = [path.parent for path in (root / config.name).glob("*/dataset_info.json")]
    if not versions:
        names = sorted({path.parts[len(root.parts)] for path in root.glob("*/*/dataset_info.json")})
        close = difflib.get_close_matches(config.name, ["digits", "arrays", "folder", *names], n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise UserError(
            f"dataset.name: tfds has prepared no {config.name!r} under {root}{hint}; set dataset.path to its data "
            f"folder, or run {_format_command(config.name, root)} (docs/data.md)"
        )
    return max(versions, key=lambda path: [int(part) for part in path.name.split(".") if part.isdigit()])


def _data_folder(config: Any) -> pathlib.Path:
    """Where tfds looks too if it is told nothing else."""
    return pathlib.Path(config.path or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def _open_builder(config: Any) -> tuple[Any, pathlib.Path]:
    """The builder of the prepared data set, made from its files alone, and its directory."""
    directory, root = find_prepared(config), _data_folder(config)
    os.environ.setdefault("NO_GCE_CHECK", "true")  # tfds would look for a cloud at import
    import tensorflow_datasets as tfds

    _check_descriptions(directory)
    try:
        builder = tfds.builder_from_directory(directory)
    except Exception as error:  # tfds and protobuf raise many kinds for what they cannot read
        raise UserError(f"dataset.name: tfds cannot read {directory} ({one_line(error)}); {_PREPARE_AGAIN}") from None
    if builder.info.file_format != tfds.core.FileFormat.ARRAY_RECORD:
        raise UserError(
            f"dataset.name: {directory} is prepared as {builder.info.file_format.value}; it must be array_record: "
            f"run {_format_command(config.name, root)} (docs/data.md)"
        )
    return builder, directory


def _check_descriptions(directory: pathlib.Path) -> None:
    """Refuses a data set one of whose descriptions is cut off, which tfds would not name, or would not notice."""
    for file in sorted(directory.glob("*.json")):
        try:
            json.loads(file.read_bytes())
        except ValueError as error:
            raise UserError(f"dataset.name: {file} is damaged ({one_line(error)}); {_PREPARE_AGAIN}") from None
    for file in sorted(directory.glob("*.labels.txt")):
        if not file.read_bytes().endswith(b"\n"):
            raise UserError(f"dataset.name: {file} is cut off; {_PREPARE_AGAIN}")


def _format_command(name: str, root: pathlib.Path) -> str:
    return (
        'uv run --with tensorflow python -c "import tensorflow_datasets as tfds; '
        f"tfds.builder('{name}', data_dir='{root}', file_format='array_record').download_and_prepare()\""
    )


def _read_cached(config: Any, builder: Any, directory: pathlib.Path, split: str) -> Arrays:
    """The images and all class labels of a split, decoded once and cached."""
    files = sorted(path for path in directory.iterdir() if path.is_file())
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    size = "labels" if config.feed == "stream" else config.image_size
    fingerprint = repr((config.name, str(directory.resolve()), split, size, stats))
    return read_through_cache(f"{config.name}-{split}", fingerprint, lambda: _read_split(config, builder, split))


def _read_split(config: Any, builder: Any, split: str) -> Arrays:
    """All class labels of a split, and its images; if those are streamed, their file names where there are any."""
    image_key, streams = _image_key(config.name, builder), config.feed == "stream"
    label_keys = [name for name, feature in builder.info.features.items() if type(feature).__name__ == "ClassLabel"]
    source = _open_encoded(builder, split) if streams else builder.as_data_source(split=split)
    has_names = streams and "file_name" in builder.info.features
    images, file_names, labels = [], [], {name: np.empty(len(source), np.int32) for name in label_keys}
    if streams:
        what = f"{config.name}: reading the labels of {len(source):,} images of {split!r}"
        print(f"{what}; the next run finds them in the cache", file=sys.stderr)
    chunk = 1000
    for start in tqdm(range(0, len(source), chunk), desc=f"{config.name} {split}", leave=False, disable=None):
        examples = source.__getitems__(list(range(start, min(start + chunk, len(source)))))
        if not streams:
            images += [_resize_image(example[image_key], config.image_size) for example in examples]
        if has_names:
            file_names += [example["file_name"] for example in examples]
        for name in label_keys:
            labels[name][start : start + chunk] = [example[name] for example in examples]
    if streams:
        return labels | ({"file_name": np.array(file_names, "S")} if has_names else {})
    shapes = {image.shape for image in images}
    if len(shapes) != 1:
        raise UserError(
            f"dataset.name: the images of {config.name} differ in shape ({len(shapes)} shapes, such as "
            f"{' and '.join(map(str, sorted(shapes)[:2]))}); set dataset.image_size to resize them all, "
            "or dataset.feed=stream"
        )
    return {"image": np.stack(images), **labels}


def _image_key(name: str, builder: Any) -> str:
    keys = [key for key, feature in builder.info.features.items() if type(feature).__name__ == "Image"]
    if len(keys) != 1:
        raise UserError(f"dataset.name: {name} has {len(keys)} image features; it must have one")
    return keys[0]


def _open_encoded(builder: Any, split: str) -> Any:
    """The split with its images as they are in the file."""
    from tensorflow_datasets import decode

    return builder.as_data_source(split=split, decoders={_image_key(builder.name, builder): decode.SkipDecoding()})


def _resize_image(image: np.ndarray, size: int | None) -> np.ndarray:
    if size is None:
        return image
    from datasets.feeds.decoding import stretch

    return stretch(image, size, size)
