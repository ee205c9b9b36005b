"""The record of an epoch whose alignments are not all finite."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from small_runs import files, small

from gwa import RULES
from gwa.moment_arithmetic import reasons_of_nan, summarize_alignments
from training import epoch_record, loop, step
from training.selection import Selection
from training.signals import two_peakedness

OF_ALIGNMENTS = ("gwa", "alignment_mean", "alignment_variance", "excess_kurtosis", "two_peakedness")


def test_the_summary_is_that_of_scipy():
    scores = np.random.default_rng(0).standard_t(8, 500).astype(np.float32)
    summary, exact = summarize_alignments(scores), scores.astype(float)
    assert summary["gwa"] == pytest.approx(exact.mean() / (scipy.stats.kurtosis(exact) + 1.2), rel=1e-12)
    assert summary["alignment_variance"] == pytest.approx(exact.var(), rel=1e-12)
    assert summary["non_finite_alignments"] == 0
    assert reasons_of_nan(summary) == {}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite(value):
    scores = np.linspace(-1, 1, 50, dtype=np.float32)
    scores[:10] = value
    summary = summarize_alignments(scores) | {"two_peakedness": two_peakedness(scores)}
    assert summary["non_finite_alignments"] == 10
    assert all(math.isnan(summary[field]) for field in OF_ALIGNMENTS)
    assert reasons_of_nan(summary) == dict.fromkeys(OF_ALIGNMENTS, "10 of the alignments are not finite")


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ([], "there are no alignments"),
        ([0.3] * 7, "the variance of the alignments is 0"),
        ([0.5] * 999 + [np.nextafter(np.float32(0.5), 1)], "is too small to measure a kurtosis"),
        ([-0.5, 0.5] * 7, "excess kurtosis -2.000 + 1.2 is not positive"),
    ],
)
def test_reasons(scores, reason):
    assert reasons_of_nan(summarize_alignments(np.array(scores, np.float32)))["gwa"].endswith(reason)


def test_a_run_with_embeddings_that_are_not_finite(tmp_path, monkeypatch, capsys):
    """The loss is finite and training goes on, but no rule keeps an epoch, in training or afterwards."""
    forward = step.forward

    def with_infinite_embeddings(recipe, params, images, key):
        logits, embeddings = forward(recipe, params, images, key)
        dark = jnp.mean(images, axis=(1, 2, 3)) < -0.4
        return logits, jnp.where(dark[:, None], jnp.inf, embeddings)

    monkeypatch.setattr(step, "forward", with_infinite_embeddings)
    rules = ("max_gwa", "min_then_max_gwa", "max_bounded_gwa", "lowest_head_gradient_norm", "last")
    summary = loop.train(small(epochs=2, **{"stopping.rules": rules}), tmp_path / "run")
    history, scores, _ = files(tmp_path / "run")
    for record, row in zip(history, scores, strict=True):
        broken = int(np.isnan(row).sum())
        assert 0 < broken < len(row)
        assert record["non_finite_alignments"] == broken
        for field in OF_ALIGNMENTS:
            assert record[field] is None
            assert record["reasons"][field] == f"{broken} of the alignments are not finite"
        assert record["head_gradient_norm"] is None
        assert record["reasons"]["head_gradient_norm"] == "measured as nan"
    for name in rules:
        assert RULES[name]().select(history) is None
        assert summary["rules"][name]["epoch"] is None
    assert "of the alignments are not finite" in "".join(capsys.readouterr())


def test_rules_see_what_the_history_will_hold(tmp_path, monkeypatch):
    """A resumed run reads null where a measurement was infinite."""
    seen, update = [], Selection.update
    monkeypatch.setattr(epoch_record, "measure_signals", lambda *_: {"sharpness": math.inf})
    monkeypatch.setattr(Selection, "update", lambda self, record: seen.append(record) or update(self, record))
    loop.train(small(1), tmp_path)
    assert seen[0]["sharpness"] is None
    assert seen[0]["reasons"]["sharpness"] == "measured as inf"
