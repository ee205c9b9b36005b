"""The moments of a set of scores on PyTorch tensors, mergeable in any grouping; the same numbers as `gwa.moments`."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from gwa.moment_arithmetic import BETA, LEAST_VARIANCE, ROUNDING, shift, two_sum


@dataclasses.dataclass(frozen=True)
class Moments:
    """Count, mean and central sums Σ(x − mean)ᵏ, k = 2, 3, 4, of a set of scores, as in `gwa.Moments`.

    `Moments.of(scores)` measures a batch, `a + b` joins two sets, exactly in any grouping; neither waits for the
    device.

    Attributes:
      count: float32 scalar, how many scores.
      mean: float32 scalar.
      sums: float32 `[3]`, the central sums of second, third and fourth order.
      mean_error: what rounding took from `mean` as sets were joined.
      sums_error: the same for `sums`.
      non_finite: float32 scalar, how many of the scores are NaN or infinite; one of them makes all moments NaN.

    Example:
      >>> import torch
      >>> from gwa.torch import Moments
      >>> moments = Moments.of(torch.tensor([0.1, 0.2])) + Moments.of(torch.tensor([0.3, 0.4]))
      >>> print(f"{moments.count:.0f} scores, mean {moments.mean:.2f}, variance {moments.variance:.4f}")
      4 scores, mean 0.25, variance 0.0125
    """

    count: Tensor
    mean: Tensor
    sums: Tensor
    mean_error: Tensor
    sums_error: Tensor
    non_finite: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, scores: Tensor, where: Tensor | None = None) -> Moments:
        """Moments of `scores`, of any shape, in float32, without the entries where the mask `where` is false or 0."""
        mask = torch.ones_like(scores, dtype=torch.bool) if where is None else where.bool().expand_as(scores)
        scores, mask = scores.float().ravel(), mask.ravel()
        count = mask.sum().float()
        filled = count.clamp(min=1)
        mean = torch.where(mask, scores, 0).sum() / filled
        deviation = torch.where(mask, scores - mean, 0)
        # `mean` is itself rounded; the mean of the deviations is the part it misses.
        mean_error = deviation.sum() / filled
        deviation = torch.where(mask, deviation - mean_error, 0)
        sums = torch.stack([(deviation**order).sum() for order in (2, 3, 4)])
        non_finite = (mask & ~scores.isfinite()).sum().float()
        return cls(count, mean, sums, mean_error, torch.zeros_like(sums), non_finite)

    @torch.no_grad()
    def __add__(self, other: Moments) -> Moments:
        """Moments of both sets together."""
        count = self.count + other.count
        filled = count.clamp(min=1)
        share, other_share = self.count / filled, other.count / filled
        # An empty set has no mean to differ from.
        difference = (other.mean - self.mean) + (other.mean_error - self.mean_error)
        delta = torch.where((self.count > 0) & (other.count > 0), difference, 0)
        start = torch.where(self.count > 0, self.mean, other.mean)
        start_error = torch.where(self.count > 0, self.mean_error, other.mean_error)
        mean, error = two_sum(start, delta * other_share)
        mean, mean_error = two_sum(mean, error + start_error)
        sums, error = two_sum(self.sums, other.sums)
        sums, shift_error = two_sum(sums, torch.stack(shift(self, other, delta, share, other_share)))
        sums, sums_error = two_sum(sums, error + shift_error + self.sums_error + other.sums_error)
        return Moments(count, mean, sums, mean_error, sums_error, self.non_finite + other.non_finite)

    @property
    def variance(self) -> Tensor:
        """Population variance, float32; NaN for an empty set."""
        return self.sums[0] / self.count

    @property
    def excess_kurtosis(self) -> Tensor:
        """Population excess kurtosis (biased, Fisher), float32, at least −2; NaN as in `gwa.Moments`."""
        second, _, fourth = self.sums
        measurable = self.variance > (ROUNDING * self.mean).square().clamp(min=LEAST_VARIANCE)
        return torch.where(measurable, self.count * fourth / second.square(), torch.nan) - 3

    def to_vector(self) -> Tensor:
        """All of it as float32 `[10]`, to send to another process."""
        scalars = torch.stack([self.count, self.mean, self.mean_error, self.non_finite])
        return torch.cat([scalars, self.sums, self.sums_error])

    @classmethod
    def from_vector(cls, vector: Tensor) -> Moments:
        """What `to_vector` has made a vector of."""
        (count, mean, mean_error, non_finite), sums, sums_error = vector.split([4, 3, 3])
        return cls(count, mean, sums, mean_error, sums_error, non_finite)


def gwa_score(moments: Moments, beta: float = BETA) -> Tensor:
    """Gradient-Weight Alignment of an epoch: mean / (excess kurtosis + beta); float32, higher is better.

    As `gwa.gwa_score`: NaN unless excess kurtosis + beta > 0 and every alignment is finite.

    Example:
      >>> import torch
      >>> from gwa.torch import Moments, gwa_score
      >>> print(f"{gwa_score(Moments.of(torch.tensor([0.1, 0.2, 0.2, 0.3]))):.2f}")
      1.00
    """
    denominator = moments.excess_kurtosis + beta
    return torch.where(denominator > 0, moments.mean / denominator, torch.nan)
