"""Two-peakedness of samples whose peaks are known."""

import math

import numpy as np
import pytest
from scipy import stats

from training.signals import PRONOUNCED, list_bimodal, two_peakedness

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    "scores",
    [RNG.standard_normal(5000), RNG.exponential(size=5000), RNG.uniform(size=5000), RNG.beta(5, 1, 5000)],
    ids=["normal", "exponential", "uniform", "beta"],
)
def test_one_peak_has_hardly_a_valley(scores):
    assert two_peakedness(scores) < 0.4


@pytest.mark.parametrize(
    "draw", [RNG.standard_normal, RNG.exponential, RNG.uniform], ids=["normal", "exponential", "uniform"]
)
def test_few_samples_of_one_peak_are_seldom_taken_for_two(draw):
    assert sum(two_peakedness(draw(size=100)) >= PRONOUNCED for _ in range(50)) <= 2


@pytest.mark.parametrize("distance", [3.0, 4.0, 6.0])
def test_two_normal_peaks_have_the_valley_of_their_density(distance):
    scores = np.concatenate([RNG.standard_normal(20_000), distance + RNG.standard_normal(20_000)])
    x = np.linspace(0, distance, 1000)
    density = stats.norm.pdf(x) + stats.norm.pdf(x, loc=distance)
    assert two_peakedness(scores) == pytest.approx(1 - density.min() / density[0], abs=0.04)
    assert two_peakedness(7 - 0.01 * scores) == pytest.approx(two_peakedness(scores), abs=0.01)


def test_pronounced_peaks_and_a_fringe():
    far = np.concatenate([RNG.standard_normal(6000), 8 + RNG.standard_normal(4000)])
    assert two_peakedness(far) > PRONOUNCED
    fringe = np.concatenate([RNG.standard_normal(9800), 8 + 0.2 * RNG.standard_normal(200)])
    assert two_peakedness(fringe) == 0
    assert math.isnan(two_peakedness(np.zeros(10, np.float32)))


def test_bimodal_epochs_are_listed_after_the_warmup():
    depths = [0.9, None, 0.1, 0.85, 0.95]
    records = [{"epoch": i + 1, "progress": (i + 1) / 5, "two_peakedness": depth} for i, depth in enumerate(depths)]
    assert list_bimodal(records, warmup=0.2) == [4, 5]
    assert list_bimodal(records, warmup=0.0) == [1, 4, 5]
    assert list_bimodal(records[:3], warmup=0.2) == []
