"""From a name or a path in the config to the examples of each split."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from datasets import arrays, folders, resized, tfds
from datasets.cleaning import HOW, Cleaning, clean_training_set
from datasets.examples import Examples, Source, StreamedExamples
from datasets.labels import AnyExamples, corrupt_labels, draw_stratified, keep_classes, map_classes
from errors import UserError
from extensions import is_external


@dataclasses.dataclass(frozen=True)
class Splits:
    """The examples to train on, to validate on and to test on; None where there are none.

    Validation is held-out training data and keeps its observed, possibly wrong labels: in practice nobody has better
    ones. Only where the config says `val_labels: clean` has it the clean ones. Test labels are clean. `cleaning` says
    what a file of label issues has changed in `train`.
    """

    train: Examples | StreamedExamples
    val: Examples | StreamedExamples | None
    test: Examples | StreamedExamples | None
    class_names: tuple[str, ...]
    cleaning: Cleaning | None = None


def build(config: Any) -> Splits:
    """The splits that `config.dataset` describes.

    Classes are chosen first, then come label noise, the subset and the validation split, and last the cleaning of what
    remains to train on. So the label issues that a run has found apply to a run of the same data.

    Raises:
      UserError: the data are missing, or the config asks for something impossible.
    """
    if config.clean not in HOW:
        raise UserError(f"dataset.clean is {config.clean!r}; it must be one of {', '.join(HOW)}")
    source = _keep_classes(load_source(config), config.classes)
    train, num_classes = source.train, len(source.class_names)
    noise = config.label_noise
    train = dataclasses.replace(
        train,
        labels=corrupt_labels(train.labels, num_classes, noise.kind, noise.rate, config.seed),
        clean_labels=train.labels if train.clean_labels is None and noise.kind != "none" else train.clean_labels,
    )
    if not 0 <= config.train_examples <= len(train):
        raise UserError(
            f"dataset.train_examples is {config.train_examples}; {config.name} has {len(train)} (0 for all)"
        )
    noisy = train
    if config.train_examples:
        train = train.take(draw_stratified(train.labels, config.train_examples, config.seed)[0])
    if not 0 <= config.val_fraction < 1:
        raise UserError(f"dataset.val_fraction is {config.val_fraction}; it must be a share in [0, 1)")
    held_out, kept = draw_stratified(train.labels, round(config.val_fraction * len(train)), config.seed)
    if len(kept) == 0:
        raise UserError(f"dataset.val_fraction is {config.val_fraction}; it leaves nothing of {len(train)} to train on")
    if config.val_labels not in ("observed", "clean"):
        raise UserError(f"dataset.val_labels is {config.val_labels!r}; it must be observed or clean")
    val = train.take(held_out) if len(held_out) else None
    if val is not None and config.val_labels == "clean":
        val = _take_clean_labels(val)
    train, cleaning = train.take(kept), None
    if config.labels:
        train, cleaning = clean_training_set(train, noisy, source.class_names, config)
    return Splits(train, val, source.test, source.class_names, cleaning)


def check_name(config: Any) -> None:
    """Refuses a `dataset.name` that is none of ours, nothing from outside, and no set that tfds has prepared.

    Raises:
      UserError: with a name that is like it.
    """
    if config.name not in (None, "digits", "arrays", "folder") and not is_external(config.name):
        tfds.find_prepared(config)


def _take_clean_labels(val: AnyExamples) -> AnyExamples:
    """Held-out data with their clean labels in place of the observed ones."""
    if val.clean_labels is None:
        raise UserError("dataset.val_labels is 'clean', but the clean labels of this data set are not known")
    if outside := int(np.sum(val.clean_labels < 0)):
        raise UserError(
            f"dataset.val_labels is 'clean', but {outside} of {len(val)} held-out examples truly belong to none of "
            "dataset.classes"
        )
    return dataclasses.replace(val, labels=val.clean_labels)


def load_source(config: Any) -> Source:
    """The data set that `config.dataset` names.

    Raises:
      UserError: it is missing, or is not a classification set of images of one size.
    """
    if not config.name:
        raise UserError(
            "dataset.name is not set; it is digits, arrays (an .npz file), folder, a tfds name such as cifar10, or "
            "my_module:load"
        )
    if config.feed not in ("resident", "stream"):
        raise UserError(f"dataset.feed is {config.feed!r}; it must be resident or stream")
    if config.feed == "stream":
        return _load_streamed(config)
    if config.name == "folder":
        return resized.load(config)
    if config.name == "digits":
        return arrays.load_digits()
    if config.name == "arrays":
        return arrays.load_npz(config.path)
    return arrays.load_external(config) if is_external(config.name) else tfds.load(config)


def _load_streamed(config: Any) -> Source:
    """The data sets whose images stay on disk."""
    if config.name in ("digits", "arrays") or is_external(config.name):
        raise UserError(f"dataset.feed is 'stream'; {config.name} is in memory anyway, so it must be resident")
    if config.image_size is None or config.image_size < 1:
        raise UserError(
            f"dataset.image_size is {config.image_size}; with dataset.feed=stream it is the crops' side, such as 224"
        )
    return folders.load(config.path, config.image_size) if config.name == "folder" else tfds.load(config)


def _keep_classes(source: Source, names: Sequence[str] | None) -> Source:
    if names is None:
        return source
    position = map_classes(names, source.class_names)
    train = keep_classes(source.train, position)
    if len(train) == 0:
        raise UserError(f"dataset.classes is {tuple(names)}; none of them has training examples")
    test = None if source.test is None else keep_classes(source.test, position)
    return Source(train, test if test is not None and len(test) else None, tuple(names))


__all__ = ["Cleaning", "Examples", "Source", "Splits", "StreamedExamples", "build", "check_name"]
