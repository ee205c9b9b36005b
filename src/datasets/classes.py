"""A part of the classes: what pre-training on some and fine-tuning on others is made of."""

import dataclasses
import difflib
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from errors import UserError

AnyExamples = TypeVar("AnyExamples", bound=Any)  # Examples, or whatever else has labels, clean_labels and take


def positions(names: Sequence[str], class_names: Sequence[str]) -> np.ndarray:
    """Where each class of a set goes when only `names` are kept, in their order: int32 `[classes]`, -1 for nowhere.

    Raises:
      UserError: when a name is no class of the set or stands there twice, or fewer than two are named.
    """
    for name in names:
        if name not in class_names:
            close = difflib.get_close_matches(name, class_names, n=3) or class_names[:3]
            raise UserError(
                f"dataset.classes: there is no class {name!r} among {len(class_names)}; names like it: "
                f"{', '.join(close)}"
            )
    if len(names) < 2 or len(set(names)) < len(names):
        raise UserError(f"dataset.classes is {tuple(names)}; it must name at least two classes, and none twice")
    kept = {name: position for position, name in enumerate(names)}
    return np.array([kept.get(name, -1) for name in class_names], np.int32)


def keep(examples: AnyExamples, position: np.ndarray) -> AnyExamples:
    """The examples whose observed class is kept, their labels renumbered, in the order they had.

    Which ones those are may not depend on the clean labels. A clean label that is not kept becomes -1: no class of
    those that are left, so the observed label counts as wrong.

    Args:
      examples: of a split; labels in [0, len(position)).
      position: int32 `[classes]`, see `positions`.
    """
    kept = examples.take(np.flatnonzero(position[examples.labels] >= 0))
    return dataclasses.replace(
        kept,
        labels=position[kept.labels],
        clean_labels=None if kept.clean_labels is None else position[kept.clean_labels],
    )
