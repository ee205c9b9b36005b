"""Stratified draws: a part of a data set in which every class keeps its share."""

import numpy as np


def stratified(labels: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws `count` rows at random, each class in proportion; a function of its arguments alone.

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
