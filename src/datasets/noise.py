"""Label noise for experiments whose clean labels are known."""

import numpy as np

from errors import UserError

# The confusions of CIFAR-10 that Patrini et al. (CVPR 2017) use: truck → automobile, bird → airplane, deer → horse and
# cat ↔ dog. In the alphabetical order of CIFAR-10's classes.
CIFAR10_CLASS_MAP = {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}
KINDS = ("none", "symmetric", "asymmetric", "uniform")


def corrupt(labels: np.ndarray, num_classes: int, kind: str, rate: float, seed: int) -> np.ndarray:
    """Labels of which a share is replaced; a function of its arguments alone.

    Args:
      labels: integers `[N]` in [0, num_classes).
      num_classes: how many classes there are.
      kind: `symmetric` gives `rate` of all labels another class, any with the same chance: exactly that share is
        wrong. `asymmetric` sends `rate` of each class of CIFAR10_CLASS_MAP to the class it is confused with.
        `uniform` draws `rate` of all labels anew from all classes, the old one included: at rate 1, random labels.
      rate: share of the labels that the noise touches, in [0, 1].
      seed: of the draw.

    Raises:
      UserError: for another kind, a rate outside [0, 1], or the class map on anything but 10 classes.
    """
    if kind not in KINDS:
        raise UserError(f"dataset.label_noise.kind is {kind!r}; it must be one of {', '.join(KINDS)}")
    if not 0 <= rate <= 1:
        raise UserError(f"dataset.label_noise.rate is {rate}; it must be a share in [0, 1]")
    if kind == "none":
        if rate:
            raise UserError(f"dataset.label_noise.rate is {rate} but its kind is 'none'; set the kind or rate 0")
        return labels
    rng = np.random.default_rng([seed, 1])
    noisy = labels.copy()
    if kind == "asymmetric":
        if num_classes != 10:
            raise UserError(
                f"dataset.label_noise.kind 'asymmetric' is CIFAR-10's class map, not one of {num_classes} classes"
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
