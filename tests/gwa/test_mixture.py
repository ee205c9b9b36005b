"""The mixture of two normals against SciPy's optimiser, and its valley against the density on a fine grid."""

import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from gwa.mixture import TwoNormals, fit_two_normals, log_likelihood_of_one


def density(x, weights, means, deviations):
    return sum(w * scipy.stats.norm.pdf(x, m, s) for w, m, s in zip(weights, means, deviations, strict=True))


@pytest.mark.parametrize(
    ("weight", "means", "deviations"),
    [(0.2, (-0.2, 0.1), (0.1, 0.05)), (0.05, (-0.3, 0.0), (0.05, 0.05)), (0.5, (0.0, 0.3), (0.1, 0.1))],
)
def test_no_optimiser_finds_a_better_fit(weight, means, deviations):
    rng = np.random.default_rng(0)
    lower = rng.random(5000) < weight
    values = np.where(lower, rng.normal(means[0], deviations[0], 5000), rng.normal(means[1], deviations[1], 5000))
    counts, edges = np.histogram(values, 400)
    x = (edges[:-1] + edges[1:]) / 2
    fit = fit_two_normals(x, counts)

    def loss(theta):
        share = 1 / (1 + np.exp(-theta[0]))
        return -counts @ np.log(density(x, (share, 1 - share), theta[1:3], np.exp(theta[3:])))

    start = [np.log(weight / (1 - weight)), *means, *np.log(deviations)]
    best = scipy.optimize.minimize(loss, start, method="L-BFGS-B")
    assert fit.log_likelihood > -best.fun - 0.01
    assert fit.means == pytest.approx(best.x[1:3], abs=0.01)
    assert fit.weights.sum() == pytest.approx(1)
    likelihood = np.log(density(x, *fit[:3])) @ counts
    assert fit.log_likelihood == pytest.approx(likelihood, rel=1e-6)


def test_one_normal_against_scipy():
    counts, edges = np.histogram(np.random.default_rng(0).normal(3, 2, 1000), 50)
    x = (edges[:-1] + edges[1:]) / 2
    values = np.repeat(x, counts)
    expected = scipy.stats.norm.logpdf(values, *scipy.stats.norm.fit(values)).sum()
    assert log_likelihood_of_one(x, counts) == pytest.approx(expected)


@pytest.mark.parametrize("distance", [0.5, 1.5, 1.9, 2.1, 3.0, 8.0])
@pytest.mark.parametrize("weight", [0.5, 0.1])
@pytest.mark.parametrize("deviations", [(1.0, 1.0), (2.0, 0.7)])
def test_the_valley_lies_between_the_peaks(distance, weight, deviations):
    mixture = TwoNormals(np.array([weight, 1 - weight]), np.array([0.0, distance]), np.array(deviations))
    x = np.linspace(-9, 19, 280_001)
    values = density(x, *mixture[:3])
    turns = np.sign(np.diff(values))
    (peaks,), (valleys,) = (
        np.nonzero((turns[:-1] > 0) & (turns[1:] < 0)),
        np.nonzero((turns[:-1] < 0) & (turns[1:] > 0)),
    )
    valley = mixture.find_valley()
    if len(peaks) == 1:
        assert valley is None
    else:
        assert valley == pytest.approx(x[valleys[0] + 1], abs=distance / 500)
    if weight == 0.5 and deviations == (1.0, 1.0):  # two equal normals have two peaks beyond two deviations
        assert (valley is not None) == (distance > 2)


def test_a_normal_does_not_shrink_to_a_single_value():
    x, counts = np.linspace(-1, 1, 101), np.full(101, 10)
    counts[50] = 500
    fit = fit_two_normals(x, counts)
    assert fit.deviations.min() >= 0.1 * np.sqrt(counts @ x**2 / counts.sum()) - 1e-12
    assert np.isfinite(fit.log_likelihood)
