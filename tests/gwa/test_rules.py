"""The rules on hand-made histories, on noisy curves, and all of them through one contract."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwa import RULES, BestValidation, Last, MaxGWA, MinThenMaxGWA, Oracle


def history(gwa, **fields):
    length = len(gwa)
    return [
        {
            "epoch": i + 1,
            "progress": (i + 1) / length,
            "gwa": value,
            "val_accuracy": fields.get("val", [0.5] * length)[i],
            "test_accuracy": fields.get("test", [0.5] * length)[i],
        }
        for i, value in enumerate(gwa)
    ]


def verdicts(rule, records):
    state, result = rule.init(), []
    for record in records:
        state, verdict = rule.update(state, record)
        result.append(verdict)
    return result


def test_max_gwa_skips_the_first_tenth():
    curve = [9, 1, 2, 5, 4, 5, 3, 2, 1, 0]  # epoch 1 ends at exactly 10 % and is skipped
    assert MaxGWA().select(history(curve)) == 4
    assert MaxGWA(warmup=0.0).select(history(curve)) == 1
    assert MaxGWA(warmup=0.4).select(history(curve)) == 6


def test_max_gwa_never_picks_an_epoch_without_a_score():
    assert MaxGWA(warmup=0).select(history([1, math.nan, 3, None])) == 3
    assert MaxGWA(warmup=0).select(history([None, math.nan])) is None
    assert MaxGWA().select([]) is None


def test_min_then_max_passes_over_the_dip():
    assert MinThenMaxGWA().select(history([5, 3, 1, 2, 4, 6, 5])) == 6
    # The highest value of all lies before the minimum.
    assert MinThenMaxGWA().select(history([9, 3, 1, 2, 4, 3, 2, 2])) == 5
    # One value above the minimum does not settle it: here the true minimum comes at epoch 4.
    assert MinThenMaxGWA().select(history([9, 5, 7, 1, 2, 4, 3])) == 6
    # Without a dip the first epoch is the minimum.
    assert MinThenMaxGWA().select(history([1, 2, 3, 4, 3])) == 4
    # A collapse at the end does not move a settled minimum.
    assert MinThenMaxGWA().select(history([5, 2, 4, 6, 5, 4, 1, 3])) == 4
    # A plateau is not above the minimum.
    assert MinThenMaxGWA().select(history([5, 1, 1, 1, 1, 0, 0.5, 0.6, 0.7])) == 9
    # Nothing has followed the minimum yet.
    assert MinThenMaxGWA().select(history([5, 4, 3, 2])) == 4


def test_min_then_max_needs_as_many_epochs_above_as_it_is_told():
    curve = [5, 3, 6, 4, 2, 4, 3]
    assert MinThenMaxGWA(confirm=2).select(history(curve)) == 3
    assert MinThenMaxGWA(confirm=3).select(history(curve)) == 6


@given(noise=st.lists(st.floats(-0.04, 0.04), min_size=40, max_size=40), dip=st.integers(3, 10))
def test_min_then_max_on_noisy_curves(noise, dip):
    """A valley down to `dip`, a peak at 25: noise of ±0.04 must not lead away from the top of the peak."""
    shape = [
        1 - 0.1 * t if t < dip else 1 - 0.1 * dip + 0.1 * (t - dip) if t < 25 else 3.5 - 0.1 * t for t in range(40)
    ]
    peak = 1 - 0.1 * dip + 0.1 * (24 - dip)
    curve = [min(value, peak) + shift for value, shift in zip(shape, noise, strict=True)]
    chosen = MinThenMaxGWA().select(history(curve))
    assert chosen > dip
    assert curve[chosen - 1] == max(curve[dip:])


def test_the_other_rules():
    records = history([1, 2, 3, 4], val=[0.1, 0.7, 0.7, 0.2], test=[0.9, 0.3, 0.4, 0.95])
    assert BestValidation().select(records) == 2
    assert Oracle().select(records) == 4
    assert Last().select(records) == 4


def test_patience_counts_epochs_without_a_better_one():
    curve = [1, 3, 2, 2, 4, math.nan, 3, 3, 9]
    stops = [verdict.stop for verdict in verdicts(MaxGWA(warmup=0, patience=3), history(curve))]
    assert stops == [False] * 7 + [True, False]
    assert not any(verdict.stop for verdict in verdicts(MaxGWA(warmup=0), history(curve)))
    # Nothing to be patient about before an epoch is eligible.
    waiting = verdicts(MaxGWA(warmup=0.8, patience=1), history(curve))
    assert [verdict.stop for verdict in waiting] == [False] * 9


@pytest.mark.parametrize("arguments", [{"patience": 0}, {"patience": -1}])
@pytest.mark.parametrize("name", RULES)
def test_impossible_patience(name, arguments):
    with pytest.raises(ValueError, match="patience"):
        RULES[name](**arguments)


def test_impossible_fields():
    with pytest.raises(ValueError, match="warmup"):
        MaxGWA(warmup=1.0)
    with pytest.raises(ValueError, match="confirm"):
        MinThenMaxGWA(confirm=0)


@pytest.mark.parametrize("name", RULES)
@given(
    curve=st.lists(st.one_of(st.none(), st.just(math.nan), st.floats(-10, 10)), max_size=25), patience=st.integers(1, 5)
)
def test_contract(name, curve, patience):
    """Every rule: selecting is the fold of updating, looks at the past alone, and reads what it says it needs."""
    rule = RULES[name](patience=patience)
    assert rule.name == name
    records = history(curve, val=curve, test=curve)
    folded = verdicts(rule, records)
    for i, verdict in enumerate(folded):
        assert rule.select(records[: i + 1]) == verdict.best_epoch
        assert verdict.best_epoch is None or 1 <= verdict.best_epoch <= i + 1
        if verdict.stop:
            assert verdict.best_epoch is not None
            assert i + 1 - verdict.best_epoch >= patience
    bare = [{key: record[key] for key in {"epoch", *rule.needs}} for record in records]
    assert rule.select(bare) == rule.select(records)
