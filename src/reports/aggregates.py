"""An epoch's scores in one number, from stored scores: GWA for any β, and what could stand in its place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from gwa import MaxGWA

TRIM = 0.1  # share of the scores that the trimmed mean leaves out at each end


def aggregates(scores: np.ndarray, betas: Iterable[float]) -> dict[str, np.ndarray]:
    """Every aggregate of every epoch, one epoch at a time, in float64.

    Args:
      scores: `[epochs, N]`, such as a memory-mapped `scores.npy`.
      betas: the offsets β of GWA = mean / (excess kurtosis + β); all of them come from one pass.

    Returns:
      By name, `[epochs]`; NaN where an aggregate is not defined.
    """
    epochs = [(*mean_and_excess_kurtosis(row), *median_and_trimmed_mean(row)) for row in scores]
    mean, kurtosis, median, trimmed = np.array(epochs).reshape(-1, 4).T
    return {
        **{f"GWA, β = {beta:g}": gwa(mean, kurtosis, beta) for beta in betas},
        "mean": mean,
        "median": median,
        f"mean without {100 * TRIM:.0f} % at each end": trimmed,
    }


def mean_and_excess_kurtosis(row: np.ndarray) -> tuple[float, float]:
    """Of the scores `[N]` of an epoch; population moments, NaN for the kurtosis of equal scores."""
    row = row.astype(np.float64)
    mean = row.mean()
    squares = np.square(row - mean)
    variance = squares.mean()
    return mean, np.square(squares).mean() / variance**2 - 3 if variance else np.nan


def median_and_trimmed_mean(row: np.ndarray, share: float = TRIM) -> tuple[float, float]:
    """Of the scores `[N]` of an epoch; the trimmed mean is without `int(share N)` scores at each end."""
    cut = int(share * len(row))
    middle = (len(row) - 1) // 2, len(row) // 2
    partitioned = np.partition(row.astype(np.float64), (cut, *middle, len(row) - 1 - cut))
    return partitioned[list(middle)].mean(), partitioned[cut : len(row) - cut].mean()


def gwa(mean: np.ndarray, excess_kurtosis: np.ndarray, beta: float) -> np.ndarray:
    """mean / (excess kurtosis + β); NaN where the denominator is not positive, as `gwa.gwa_score` has it."""
    denominator = excess_kurtosis + beta
    return np.divide(mean, denominator, out=np.full_like(mean, np.nan), where=denominator > 0)


def chosen_epoch(values: np.ndarray, history: Iterable[Mapping[str, Any]]) -> int | None:
    """The epoch that the paper's rule chooses when these `[epochs]` are the scores in place of those in the history."""
    records = [
        {"epoch": record["epoch"], "progress": record["progress"], "gwa": value}
        for record, value in zip(history, values, strict=True)
    ]
    return MaxGWA().select(records)
