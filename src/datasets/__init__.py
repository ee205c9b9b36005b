"""From a name or a path in the config to the examples of each split."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from datasets import arrays, folders, resized, tfds
from datasets.cleaning import Cleaning, clean_training_set
from datasets.examples import Examples, Source, StreamedExamples
from datasets.labels import (
    CIFAR10_CLASSES,
    AnyExamples,
    corrupt_labels,
    draw_stratified,
    keep_classes,
    map_classes,
)
from datasets.pictures import escape
from errors import UserError
from extensions import is_external


class Dataset:
    """A placeholder that no object is an instance of.

    Where Hugging Face's `datasets` is not installed, transformers takes this package for it and asks whether its
    training data are a `Dataset`.
    """


@dataclasses.dataclass(frozen=True)
class Splits:
    """The examples to train on, to validate on and to test on; None where there are none.

    Validation is held-out training data, or the data set's own validation split, and keeps its observed, possibly wrong
    labels: in practice nobody has better ones. Only where the config says `val_labels: clean` has it the clean ones.
    Test labels are clean. `cleaning` says what a file of label issues has changed in `train`, and `left_out` what was
    found and is not read.
    """

    train: Examples | StreamedExamples
    val: Examples | StreamedExamples | None
    test: Examples | StreamedExamples | None
    class_names: tuple[str, ...]
    cleaning: Cleaning | None = None
    left_out: str = ""

    def describe(self) -> list[str]:
        """The lines for the start of a run: examples and classes of each split, and what was left out."""
        splits = {"training": self.train, "validation": self.val, "test": self.test}
        counts = [
            f"no {name} data"
            if split is None
            else f"{name} {_count(len(split), 'image')} of {_count(len(np.unique(split.labels)), 'class')}"
            for name, split in splits.items()
        ]
        lines = [f"data: {', '.join(counts)}"]
        unseen = np.setdiff1d(np.arange(len(self.class_names)), self.train.labels)
        if len(unseen):
            lines.append(
                f"without training images: {_count(len(unseen), 'class')}, such as {self.class_names[unseen[0]]}"
            )
        if self.left_out:
            lines.append(f"left out: {self.left_out}")
        skipped = sorted(set().union(*(getattr(split, "skipped", ()) for split in splits.values())))
        if skipped:
            lines.append(
                f"skipped: {_count(len(skipped), 'image')} that cannot be decoded, such as {escape(skipped[0])}"
            )
        return lines


def build(config: Any) -> Splits:
    """The splits that `config.dataset` describes.

    Classes are chosen first, then come label noise, the subset and the validation split, and last the cleaning of what
    remains to train on. So the label issues that a run has found apply to a run of the same data.

    Raises:
      UserError: the data are missing, or the config asks for something impossible.
    """
    source = _keep_classes(load_source(config), config.classes)
    names = tuple(name.lower() for name in source.class_names)
    unnamed = tuple(map(str, range(10))) if config.name != "digits" else ()
    if config.label_noise.kind == "asymmetric" and names not in (CIFAR10_CLASSES, unnamed):
        raise UserError(
            "dataset.label_noise.kind is 'asymmetric', which swaps classes of CIFAR-10 such as cat and dog; this data "
            "set has other classes, so it must be symmetric or uniform"
        )
    train = noisy = _corrupt_labels(source.train, len(source.class_names), config)
    val = None if source.val is None else _corrupt_labels(source.val, len(source.class_names), config)
    if config.train_examples > len(train):
        raise UserError(
            f"dataset.train_examples is {config.train_examples}; {config.name} has {len(train)} (0 for all)"
        )
    if config.train_examples:
        train = train.take(draw_stratified(train.labels, config.train_examples, config.seed)[0])
    train, held_out = _hold_out(train, config)
    if held_out is not None and val is not None:
        raise UserError(
            f"dataset.val_fraction is {config.val_fraction}, but {config.path or config.name} has validation data of "
            f"its own ({len(val)}); it must be 0"
        )
    val = held_out if val is None else val
    if val is not None and config.val_labels == "clean":
        val = _take_clean_labels(val)
    cleaning = None
    if config.labels:
        train, cleaning = clean_training_set(train, noisy, source.class_names, config)
    if np.all(train.labels == train.labels[0]):
        raise UserError(
            f"dataset: all {len(train)} training examples are of the class {source.class_names[train.labels[0]]!r}; "
            "there must be at least two classes"
        )
    return Splits(train, val, source.test, source.class_names, cleaning, source.left_out)


def _corrupt_labels(examples: AnyExamples, num_classes: int, config: Any) -> AnyExamples:
    """The examples with the label noise of the config, and with their labels before it as clean ones."""
    noise, labels, clean_labels = config.label_noise, examples.labels, examples.clean_labels
    return dataclasses.replace(
        examples,
        labels=corrupt_labels(labels, num_classes, noise.kind, noise.rate, config.seed),
        clean_labels=labels if clean_labels is None and noise.kind != "none" else clean_labels,
    )


def _hold_out(train: AnyExamples, config: Any) -> tuple[AnyExamples, AnyExamples | None]:
    """What remains to train on, and the part that `val_fraction` holds out of it."""
    held_out, kept = draw_stratified(train.labels, round(config.val_fraction * len(train)), config.seed)
    if config.val_fraction and len(held_out) == 0:
        raise UserError(f"dataset.val_fraction is {config.val_fraction}; it holds out none of {len(train)} examples")
    if len(kept) == 0:
        raise UserError(f"dataset.val_fraction is {config.val_fraction}; it leaves nothing of {len(train)} to train on")
    return train.take(kept), train.take(held_out) if len(held_out) else None


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
    if config.image_size is None:
        raise UserError(
            f"dataset.image_size is {config.image_size}; with dataset.feed=stream it is the crops' side, such as 224"
        )
    return (
        folders.load(config.path, config.image_size, config.test_split)
        if config.name == "folder"
        else tfds.load(config)
    )


def _keep_classes(source: Source, names: Sequence[str] | None) -> Source:
    if names is None:
        return source
    position = map_classes(names, source.class_names)
    train = keep_classes(source.train, position)
    if len(train) == 0:
        raise UserError(f"dataset.classes is {tuple(names)}; none of them has training examples")
    val, test = (None if split is None else keep_classes(split, position) for split in (source.val, source.test))
    val, test = (split if split is not None and len(split) else None for split in (val, test))
    return dataclasses.replace(source, train=train, val=val, test=test, class_names=tuple(names))


def _count(number: int, noun: str) -> str:
    plural = "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{plural if number != 1 else ''}"


__all__ = ["Cleaning", "Examples", "Source", "Splits", "StreamedExamples", "build", "check_name"]
