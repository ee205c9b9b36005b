"""From a name or a path in the config to the examples of each split."""

from __future__ import annotations

import dataclasses
from typing import Any

from datasets import sources
from datasets.examples import Examples
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
    """The splits that `config.dataset` describes: label noise first, then the subset, then the validation split.

    Raises:
      UserError: when the data are not there or the config asks for something impossible.
    """
    source = sources.load(config)
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


__all__ = ["Examples", "Listing", "Splits", "build"]
