"""Two groups in one distribution: a mixture of two normals, fitted to a histogram by expectation maximisation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_STARTS = (0.02, 0.1, 0.25, 0.5)  # shares of the values that begin in the lower normal
_ITERATIONS = 500
_TOLERANCE = 1e-8  # nats per value
_NARROWEST = 0.1  # of the deviation of all values; otherwise a normal may shrink to a single value
_GRID = 1000


class TwoNormals(NamedTuple):
    """A density w₀ N(μ₀, σ₀²) + w₁ N(μ₁, σ₁²) with μ₀ ≤ μ₁.

    Attributes:
      weights, means, deviations: float64 `[2]`.
      log_likelihood: of the values that it was fitted to, in nats.
    """

    weights: np.ndarray
    means: np.ndarray
    deviations: np.ndarray
    log_likelihood: float = np.nan

    def log_parts(self, x: np.ndarray) -> np.ndarray:
        """The logarithms of both terms of the density, float64 `[2, ...]`."""
        w, mean, deviation = (part.reshape(2, *[1] * x.ndim) for part in self[:3])
        return np.log(w) - np.log(deviation) - ((x - mean) / deviation) ** 2 / 2 - np.log(2 * np.pi) / 2

    def find_valley(self) -> float | None:
        """Where the density is lowest between its two peaks; None where it has only one."""
        grid = np.linspace(self.means[0], self.means[1], _GRID)  # the peaks lie between the means
        rises = np.diff(np.logaddexp(*self.log_parts(grid))) > 0
        valleys = np.flatnonzero(~rises[:-1] & rises[1:]) + 1
        return float(grid[valleys[0]]) if len(valleys) else None


def fit_two_normals(x: np.ndarray, counts: np.ndarray, start: TwoNormals | None = None) -> TwoNormals:
    """The most likely mixture of two normals.

    Args:
      x: float64 `[K]`, ascending, at least two different values that occur.
      counts: `[K]`, how often each of them occurs.
      start: where to begin; by default from several splits of the values, of which the best result counts.
    """
    x, counts = x[counts > 0], counts[counts > 0].astype(np.float64)
    total = counts.sum()
    mean = counts @ x / total
    narrowest = _NARROWEST * np.sqrt(counts @ (x - mean) ** 2 / total)
    if start is not None:
        return _climb(x, counts, narrowest, start)
    below = np.cumsum(counts) / total
    fits = []
    for share in _STARTS:
        lower = below <= max(share, below[np.argmax(counts > 0)])  # at least the lowest value
        fits.append(_climb(x, counts, narrowest, _maximize(x, np.stack([lower, ~lower]) * counts, narrowest)))
    return max(fits, key=lambda fit: fit.log_likelihood)


def log_likelihood_of_one(x: np.ndarray, counts: np.ndarray) -> float:
    """The log-likelihood of the most likely single normal, in nats."""
    total = counts.sum()
    variance = counts @ (x - counts @ x / total) ** 2 / total
    return float(-total / 2 * (np.log(2 * np.pi * variance) + 1))


def _climb(x: np.ndarray, counts: np.ndarray, narrowest: float, fit: TwoNormals) -> TwoNormals:
    """Expectation and maximisation in turn, until the likelihood no longer rises."""
    before = -np.inf
    for _ in range(_ITERATIONS):
        parts = fit.log_parts(x)
        density = np.logaddexp(*parts)
        likelihood = float(counts @ density)
        if likelihood - before < _TOLERANCE * counts.sum():
            break
        before = likelihood
        fit = _maximize(x, np.exp(parts - density) * counts, narrowest)
    order = np.argsort(fit.means)
    return TwoNormals(fit.weights[order], fit.means[order], fit.deviations[order], likelihood)


def _maximize(x: np.ndarray, shares: np.ndarray, narrowest: float) -> TwoNormals:
    """The normals of values that belong to each of them with these shares, `[2, K]`."""
    sums = np.maximum(shares.sum(axis=1), np.finfo(float).tiny)
    means = shares @ x / sums
    deviations = np.sqrt((shares * (x - means[:, None]) ** 2).sum(axis=1) / sums)
    return TwoNormals(sums / sums.sum(), means, np.maximum(deviations, narrowest))
