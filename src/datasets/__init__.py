"""From a name or a path in the config to the examples of each split."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from datasets import classes, sources
from datasets.examples import Examples, Source
from datasets.listing import Listing
from datasets.noise import corrupt
from datasets.split import stratified
from errors import UserError


@dataclasses.dataclass(frozen=True)
class Splits:
    """The examples to train on, to validate on and to test on; None where there are none.

    Validation is held-out training data and keeps its observed, possibly wrong labels: whoever has a validation set
    in practice has no better ones. Test labels are clean.
    """

    train: Examples | Listing
    val: Examples | Listing | None
    test: Examples | Listing | None
    class_names: tuple[str, ...]


def build(config: Any) -> Splits:
    """The splits that `config.dataset` describes: classes first, then label noise, the subset, the validation split.

    Raises:
      UserError: when the data are not there or the config asks for something impossible.
    """
    source = _keep_classes(sources.load(config), config.classes)
    train, num_classes = source.train, len(source.class_names)
    noise = config.label_noise
    train = dataclasses.replace(
        train,
        labels=corrupt(train.labels, num_classes, noise.kind, noise.rate, config.seed),
        clean_labels=train.labels if train.clean_labels is None and noise.kind != "none" else train.clean_labels,
    )
    if not 0 <= config.train_examples <= len(train):
        raise UserError(
            f"dataset.train_examples is {config.train_examples}; {config.name} has {len(train)} (0 for all)"
        )
    if config.train_examples:
        train = train.take(stratified(train.labels, config.train_examples, config.seed)[0])
    if not 0 <= config.val_fraction < 1:
        raise UserError(f"dataset.val_fraction is {config.val_fraction}; it must be a share in [0, 1)")
    held_out, kept = stratified(train.labels, round(config.val_fraction * len(train)), config.seed)
    if len(kept) == 0:
        raise UserError(f"dataset.val_fraction is {config.val_fraction}; it leaves nothing of {len(train)} to train on")
    val = train.take(held_out) if len(held_out) else None
    return Splits(train.take(kept), val, source.test, source.class_names)


def _keep_classes(source: Source, names: Sequence[str] | None) -> Source:
    if names is None:
        return source
    position = classes.positions(names, source.class_names)
    train = classes.keep(source.train, position)
    if len(train) == 0:
        raise UserError(f"dataset.classes is {tuple(names)}; none of them has training examples")
    test = None if source.test is None else classes.keep(source.test, position)
    return Source(train, test if test is not None and len(test) else None, tuple(names))


__all__ = ["Examples", "Listing", "Splits", "build"]
