"""What happens to labels before training: artificial noise, stratified draws, and a choice of classes."""

import dataclasses
import difflib
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from errors import UserError

# The confusions of CIFAR-10 that Patrini et al. (CVPR 2017) use: truck → automobile, bird → airplane, deer → horse and
# cat ↔ dog. In the alphabetical order of CIFAR-10's classes.
CIFAR10_CLASS_MAP = {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def corrupt_labels(labels: np.ndarray, num_classes: int, kind: str, rate: float, seed: int) -> np.ndarray:
    """Replaces a share of the labels; the result depends on the arguments alone.

    Args:
      labels: integers `[N]` in [0, num_classes).
      num_classes: how many classes there are.
      kind: `symmetric` gives `rate` of all labels another class, each with equal chance: exactly that share is wrong.
        `asymmetric` moves `rate` of each class in CIFAR10_CLASS_MAP to the class it is confused with. `uniform` draws
        `rate` of all labels anew from all classes, the old one included; at rate 1 all labels are random.
      rate: share of the labels that the noise touches, in [0, 1].
      seed: of the draw.

    Raises:
      UserError: a rate without a kind, or the class map on a set without exactly 10 classes.
    """
    if kind == "none":
        if rate:
            raise UserError(f"dataset.label_noise.rate is {rate} but its kind is 'none'; set the kind or rate 0")
        return labels
    rng = np.random.default_rng([seed, 1])
    noisy = labels.copy()
    if kind == "asymmetric":
        if num_classes != 10:
            raise UserError(
                f"dataset.label_noise.kind 'asymmetric' is CIFAR-10's class map; this set has {num_classes} classes"
            )
        for source, target in CIFAR10_CLASS_MAP.items():
            noisy[_choose(rng, np.flatnonzero(labels == source), rate)] = target
        return noisy
    touched = _choose(rng, np.arange(len(labels)), rate)
    if kind == "symmetric":
        noisy[touched] = (labels[touched] + rng.integers(1, num_classes, len(touched))) % num_classes
    else:
        noisy[touched] = rng.integers(0, num_classes, len(touched))
    return noisy


def _choose(rng: np.random.Generator, rows: np.ndarray, rate: float) -> np.ndarray:
    return rng.choice(rows, round(rate * len(rows)), replace=False)


def draw_stratified(labels: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws `count` rows at random, each class in proportion; the result depends on the arguments alone.

    A class of n rows gives n·count/N of them, rounded down or up so that the total is exactly `count` (largest
    remainders first, ties by class).

    Args:
      labels: integers `[N]`.
      count: how many rows to draw, in [0, N].
      seed: of the draw.

    Returns:
      The drawn rows and the remaining ones, each ascending; together every row once.
    """
    classes, sizes = np.unique(labels, return_counts=True)
    # In integers, so that a share such as 0.1 of 50 rows is 5 and not 4.999...
    quotas, remainders = np.divmod(sizes * count, len(labels))
    quotas[np.argsort(-remainders, kind="stable")[: count - quotas.sum()]] += 1
    rng = np.random.default_rng([seed, 2])
    drawn = np.zeros(len(labels), bool)
    for label, quota in zip(classes, quotas, strict=True):
        drawn[rng.permutation(np.flatnonzero(labels == label))[:quota]] = True
    return np.flatnonzero(drawn), np.flatnonzero(~drawn)


AnyExamples = TypeVar("AnyExamples", bound=Any)  # Examples, or whatever else has labels, clean_labels and take


def map_classes(names: Sequence[str], class_names: Sequence[str]) -> np.ndarray:
    """The new number of each class when only `names` are kept, in that order: int32 `[classes]`, -1 for the others.

    Raises:
      UserError: a name is no class of the set or occurs twice, or there are fewer than two.
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


def keep_classes(examples: AnyExamples, position: np.ndarray) -> AnyExamples:
    """Keeps the examples whose observed class is kept, in their order, and renumbers their labels.

    The choice must not depend on the clean labels. A clean label whose class is dropped becomes -1: it is none of the
    remaining classes, so the observed label counts as wrong.

    Args:
      examples: of a split; labels in [0, len(position)).
      position: int32 `[classes]`, see `map_classes`.
    """
    kept = examples.take(np.flatnonzero(position[examples.labels] >= 0))
    return dataclasses.replace(
        kept,
        labels=position[kept.labels],
        clean_labels=None if kept.clean_labels is None else position[kept.clean_labels],
    )
