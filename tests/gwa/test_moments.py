"""`Moments` and `gwa_score` against SciPy in float64, in any grouping."""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from gwa import Moments, gwa_score


def skewed_scores(count, seed=0):
    """Like the alignments of an epoch: a bulk, a tail of large ones and some of the wrong sign."""
    rng = np.random.default_rng(seed)
    return (0.2 + 0.05 * rng.standard_t(8, count) - 0.3 * (rng.random(count) < 0.02)).astype(np.float32)


def assert_matches_scipy(moments, scores, tolerance=1e-5):
    exact = scores.astype(np.float64)
    assert float(moments.count) == len(scores)
    assert float(moments.mean) == pytest.approx(exact.mean(), rel=tolerance, abs=tolerance)
    assert float(moments.variance) == pytest.approx(exact.var(), rel=tolerance)
    kurtosis = scipy.stats.kurtosis(exact)
    assert float(moments.excess_kurtosis) == pytest.approx(kurtosis, rel=tolerance, abs=tolerance)


@pytest.mark.parametrize("batch", [1, 7, 1000, 1_300_000])
def test_imagenet_sized_epoch_in_batches(batch):
    scores = skewed_scores(1_300_000)
    scores = scores[: len(scores) // batch * batch]

    @jax.jit
    def merged(batches):
        def add(total, scores):
            return total + Moments.of(scores), None

        return jax.lax.scan(add, Moments.of(jnp.zeros(0)), batches)[0]

    assert_matches_scipy(merged(scores.reshape(-1, batch)), scores)


def test_merged_in_a_tree_and_in_any_order():
    scores = skewed_scores(20_000)
    cuts = np.sort(np.random.default_rng(1).choice(len(scores), 7, replace=False))
    parts = [Moments.of(part) for part in np.split(scores, cuts)]
    np.random.default_rng(2).shuffle(parts)
    while len(parts) > 1:
        parts = [functools.reduce(operator.add, parts[i : i + 2]) for i in range(0, len(parts), 2)]
    assert_matches_scipy(parts[0], scores)


@settings(deadline=None, max_examples=40)
@given(
    scores=st.lists(st.floats(-1, 1, width=32), min_size=8, max_size=8),
    mask=st.lists(st.booleans(), min_size=8, max_size=8),
    cut=st.integers(0, 8),
)
def test_masks_and_splits(scores, mask, cut):
    scores, mask = np.array(scores, np.float32), np.array(mask)
    moments = Moments.of(scores[:cut], where=mask[:cut]) + Moments.of(scores[cut:], where=mask[cut:])
    kept = scores[mask].astype(np.float64)
    assert float(moments.count) == len(kept)
    if len(kept):
        assert float(moments.mean) == pytest.approx(kept.mean(), abs=1e-6)
        assert float(moments.variance) == pytest.approx(kept.var(), rel=1e-5, abs=1e-12)
    if len(kept) and kept.var() > 1e-6:
        assert float(moments.excess_kurtosis) == pytest.approx(scipy.stats.kurtosis(kept), abs=1e-4)


def test_masked_entries_may_be_anything():
    scores = np.array([0.1, np.nan, 0.4, np.inf, 0.2, 0.9], np.float32)
    mask = np.array([1, 0, 1, 0, 1, 1], np.float32)
    assert_matches_scipy(Moments.of(scores, where=mask), scores[mask > 0])


def test_empty_sets():
    empty, some = Moments.of(np.zeros(0)), Moments.of(np.array([0.5, 0.1, 0.7]))
    for moments in (empty + some, some + empty):
        assert float(moments.count) == 3
        np.testing.assert_allclose(moments.mean, some.mean, rtol=2e-7)
        np.testing.assert_allclose(moments.sums, some.sums, rtol=1e-7)
    assert np.isnan(empty.variance)
    assert np.isnan(gwa_score(empty))


def test_any_shape_counts():
    scores = skewed_scores(60)
    assert jax.tree.all(jax.tree.map(np.array_equal, Moments.of(scores), Moments.of(scores.reshape(3, 4, 5))))


def test_score_is_mean_over_shifted_kurtosis():
    scores = skewed_scores(5000)
    exact = scores.astype(np.float64)
    for beta in (1.2, 3.0):
        expected = exact.mean() / (scipy.stats.kurtosis(exact) + beta)
        assert float(gwa_score(Moments.of(scores), beta)) == pytest.approx(expected, rel=1e-5)


def test_uniform_scores_have_their_mean_over_zero_point_zero():
    """The excess kurtosis of a uniform distribution is −1.2; with beta = 2.2 the score is the mean."""
    scores = np.linspace(0, 1, 10_001, dtype=np.float32)
    assert float(gwa_score(Moments.of(scores), beta=2.2)) == pytest.approx(0.5, rel=1e-3)


def test_two_peaks_and_constants_have_no_score():
    two_peaks = np.repeat(np.float32([-0.5, 0.5]), 50)
    assert float(Moments.of(two_peaks).excess_kurtosis) == pytest.approx(-2, abs=1e-6)
    assert np.isnan(gwa_score(Moments.of(two_peaks)))
    assert np.isnan(gwa_score(Moments.of(np.full(100, 0.3, np.float32))))
