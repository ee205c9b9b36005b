"""Two peaks in an epoch's alignments: late in training they are a known failure of the score (appendix A.3)."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

_POINTS = 2000
_LEAST_SHARE = 0.05
PRONOUNCED = 0.8  # a valley this deep is told to the user


def first_pronounced(history: Iterable[Mapping[str, Any]], warmup: float) -> int | None:
    """The first epoch after the share `warmup` of training with a pronounced valley; None if there is none."""
    deep = (
        record["epoch"]
        for record in history
        if record["progress"] > warmup and (record["two_peakedness"] or 0) >= PRONOUNCED
    )
    return next(deep, None)


def two_peakedness(scores: np.ndarray) -> float:
    """How deep the valley between two peaks of the scores `[N]` is; in [0, 1], 0 = one peak, 1 = nothing in between.

    A mixture of two normal distributions is fitted to 2,000 quantiles of the scores; the valley is 1 − the lowest
    density between the two means / the lower density of those at the means. NaN where all scores are equal; 0 where one
    of the two components is a fringe of less than 5 %.
    """
    if scores.min() == scores.max():
        return float("nan")
    from sklearn.mixture import GaussianMixture

    points = np.quantile(scores, (np.arange(_POINTS) + 0.5) / _POINTS)
    points = ((points - points.mean()) / points.std())[:, None]
    quartiles = np.quantile(points, [0.25, 0.75])[:, None]
    start = {"means_init": quartiles, "init_params": "random_from_data", "random_state": 0}
    fit = GaussianMixture(2, tol=1e-4, max_iter=300, **start).fit(points)
    if fit.weights_.min() < _LEAST_SHARE:
        return 0.0
    first, second = fit.means_
    density = np.exp(fit.score_samples(np.linspace(first, second, 200)))
    return float(1 - density.min() / min(density[0], density[-1]))
