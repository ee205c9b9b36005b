"""The moments of a set of scores, mergeable in any grouping, and the epoch score that is made from them."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from gwa.moment_arithmetic import BETA, LEAST_VARIANCE, ROUNDING, shift, two_sum


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["count", "mean", "sums", "mean_error", "sums_error", "non_finite"],
    meta_fields=[],
)
@dataclasses.dataclass(frozen=True)
class Moments:
    """Count, mean and central sums Σ(x − mean)ᵏ, k = 2, 3, 4, of a set of scores; a pytree that works inside `jit`.

    `Moments.of(scores)` measures a batch, `a + b` joins two sets, exactly in any grouping (Chan et al. 1979, Pébay
    2008). The population moments follow, as `scipy.stats` computes them by default. One score that is not finite makes
    them NaN, and with them GWA: an epoch with such scores has no GWA, and no rule that reads it picks the epoch.

    Attributes:
      count: float32 scalar, how many scores.
      mean: float32 scalar.
      sums: float32 `[3]`, the central sums of second, third and fourth order.
      mean_error: what rounding took from `mean` as sets were joined, so that millions of small sets join as precisely
        as one large one (Neumaier's summation).
      sums_error: the same for `sums`.
      non_finite: float32 scalar, how many of the scores are NaN or infinite.

    Example:
      >>> from gwa import Moments
      >>> moments = Moments.of([0.1, 0.2]) + Moments.of([0.3, 0.4])
      >>> print(f"{moments.count:.0f} scores, mean {moments.mean:.2f}, variance {moments.variance:.4f}")
      4 scores, mean 0.25, variance 0.0125
    """

    count: Any
    mean: Any
    sums: Any
    mean_error: Any
    sums_error: Any
    non_finite: Any

    @classmethod
    def of(cls, scores: ArrayLike, where: ArrayLike | None = None) -> Moments:
        """Moments of `scores`, of any shape, in float32, without the entries where the mask `where` is false or 0.

        Raises:
          ValueError: when the mask does not have the shape of the scores, or one that broadcasts to it.
        """
        scores = jnp.asarray(scores, jnp.float32)
        mask = jnp.broadcast_to(True if where is None else jnp.asarray(where, bool), scores.shape).ravel()
        scores = scores.ravel()
        count = jnp.sum(mask, dtype=jnp.float32)
        mean = jnp.sum(jnp.where(mask, scores, 0)) / jnp.maximum(count, 1)
        deviation = jnp.where(mask, scores - mean, 0)
        # `mean` is itself rounded; the mean of the deviations is the part it misses.
        mean_error = jnp.sum(deviation) / jnp.maximum(count, 1)
        deviation = jnp.where(mask, deviation - mean_error, 0)
        sums = jnp.stack([jnp.sum(deviation**order) for order in (2, 3, 4)])
        non_finite = jnp.sum(mask & ~jnp.isfinite(scores), dtype=jnp.float32)
        return cls(count, mean, sums, mean_error, jnp.zeros_like(sums), non_finite)

    def __add__(self, other: Moments) -> Moments:
        """Moments of both sets together."""
        count = self.count + other.count
        filled = jnp.maximum(count, 1)
        share, other_share = self.count / filled, other.count / filled
        # An empty set has no mean to differ from.
        delta = jnp.where(
            (self.count > 0) & (other.count > 0),
            (other.mean - self.mean) + (other.mean_error - self.mean_error),
            0,
        )
        first = jax.tree.map(lambda a, b: jnp.where(self.count > 0, a, b), self, other)
        mean, error = two_sum(first.mean, delta * other_share)
        mean, mean_error = two_sum(mean, error + first.mean_error)
        sums, error = two_sum(self.sums, other.sums)
        sums, shift_error = two_sum(sums, jnp.stack(shift(self, other, delta, share, other_share)))
        sums, sums_error = two_sum(sums, error + shift_error + self.sums_error + other.sums_error)
        return Moments(count, mean, sums, mean_error, sums_error, self.non_finite + other.non_finite)

    @property
    def variance(self) -> jax.Array:
        """Population variance, float32; NaN for an empty set."""
        return self.sums[0] / self.count

    @property
    def excess_kurtosis(self) -> jax.Array:
        """Population excess kurtosis (biased, Fisher), float32, at least −2.

        NaN where the variance is 0, or so small that it may be rounding: up to (2⁻²³ mean)², and up to 2⁻⁶³, below
        which its square leaves the range of float32.
        """
        second, _, fourth = self.sums
        measurable = self.variance > jnp.maximum(jnp.square(ROUNDING * self.mean), LEAST_VARIANCE)
        return jnp.where(measurable, self.count * fourth / jnp.square(second), jnp.nan) - 3


def gwa_score(moments: Moments, beta: float = BETA) -> jax.Array:
    """Gradient-Weight Alignment of an epoch: mean / (excess kurtosis + beta); float32, higher is better.

    beta = 1.2 offsets the excess kurtosis of the uniform distribution. Two-peaked scores fall below it, down to −2,
    where the quotient would blow up or turn its sign: the score is NaN unless excess kurtosis + beta > 0. It is NaN,
    too, if a single alignment is not finite; `moments.non_finite` says how many are.

    Example:
      A mean of 0.2 and an excess kurtosis of −1 give 0.2 / (−1 + 1.2):

      >>> from gwa import Moments, gwa_score
      >>> print(f"{gwa_score(Moments.of([0.1, 0.2, 0.2, 0.3])):.2f}")
      1.00
    """
    denominator = moments.excess_kurtosis + beta
    return jnp.where(denominator > 0, moments.mean / jnp.where(denominator > 0, denominator, 1), jnp.nan)
