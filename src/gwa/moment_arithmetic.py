"""What the moments in JAX and in PyTorch share: constants, plain arithmetic, GWA in float64, and why a value is NaN."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

BETA = 1.2  # the offset β of the paper: minus the excess kurtosis of the uniform distribution
ROUNDING, LEAST_VARIANCE = 2.0**-23, 2.0**-63  # of float32, see Moments.excess_kurtosis
LABEL_DTYPES = "class indices are integers, target distributions floats [..., classes]"
_OF_SAMPLES = ("alignment_mean", "alignment_variance", "excess_kurtosis", "gwa", "two_peakedness", "dissent")


def reasons_of_nan(record: Mapping[str, Any]) -> dict[str, str]:
    """Why a value of an epoch's record that is made of single samples is NaN, by field; empty where none is.

    Each reason is what the numbers of the record show, and no guess about what has led to them.

    Args:
      record: `alignment_mean`, `alignment_variance`, `excess_kurtosis`, `gwa` and `non_finite_alignments`, the number
        of those that are NaN or infinite; may hold `two_peakedness` and `dissent`.
    """
    undefined = {field for field in _OF_SAMPLES if math.isnan(record.get(field) or 0)}
    variance, kurtosis = record["alignment_variance"], record["excess_kurtosis"]
    if record["non_finite_alignments"]:
        reason = f"{record['non_finite_alignments']} of the alignments are not finite"
    elif math.isnan(variance):
        reason = "there are no alignments"
    elif variance == 0:
        reason = "the variance of the alignments is 0"
    elif math.isnan(kurtosis):
        reason = f"the variance of the alignments, {variance:.1e}, is too small to measure a kurtosis"
    else:
        reason = f"excess kurtosis {kurtosis:.3f} + {BETA} is not positive"
    reasons = {field: reason for field in _OF_SAMPLES if field in undefined}
    return reasons | ({"dissent": "the dissent of a sample is not finite"} if "dissent" in undefined else {})


def summarize_alignments(alignments: np.ndarray, beta: float = BETA) -> dict[str, float]:
    """GWA of an epoch's alignments and what it is made of, as `gwa.Moments` and `gwa.gwa_score` define it, in float64.

    Args:
      alignments: floats `[N]`.
      beta: the offset of the excess kurtosis.

    Returns:
      `num_samples`; `non_finite_alignments`, the number of those that are NaN or infinite, which leave nothing else
      defined; `alignment_mean`, `alignment_variance`, `excess_kurtosis` and `gwa`, NaN where they are not defined.
      `reasons_of_nan` tells why.
    """
    alignments = alignments.astype(np.float64)
    non_finite = int(np.sum(~np.isfinite(alignments)))
    mean = variance = kurtosis = math.nan
    if len(alignments) and not non_finite:
        mean = float(alignments.mean())
        squares = np.square(alignments - mean)
        variance = float(squares.mean())
        if variance > max((ROUNDING * mean) ** 2, LEAST_VARIANCE):  # the scores are float32, rounded as in Moments
            kurtosis = float(np.square(squares).mean()) / variance**2 - 3
    return {
        "gwa": mean / (kurtosis + beta) if kurtosis + beta > 0 else math.nan,
        "alignment_mean": mean,
        "alignment_variance": variance,
        "excess_kurtosis": kurtosis,
        "num_samples": len(alignments),
        "non_finite_alignments": non_finite,
    }


def shift(a: Any, b: Any, delta: Any, share_a: Any, share_b: Any) -> tuple[Any, Any, Any]:
    """What moving two sets from their own means to the common one adds to their central sums (Pébay 2008, eq. 2.1).

    Plain arithmetic, for arrays of JAX as of PyTorch.
    """
    second_a, third_a, _ = a.sums
    second_b, third_b, _ = b.sums
    pairs = a.count * share_b  # n_a n_b / n
    second = delta**2 * pairs
    third = delta**3 * pairs * (share_a - share_b) + 3 * delta * (share_a * second_b - share_b * second_a)
    fourth = (
        delta**4 * pairs * (share_a**2 - share_a * share_b + share_b**2)
        + 6 * delta**2 * (share_a**2 * second_b + share_b**2 * second_a)
        + 4 * delta * (share_a * third_b - share_b * third_a)
    )
    return second, third, fourth


def two_sum(a: Any, b: Any) -> tuple[Any, Any]:
    """The rounded sum and the rounding error, exactly: a + b = total + error (Knuth)."""
    total = a + b
    b_seen = total - a
    return total, (a - (total - b_seen)) + (b - b_seen)
