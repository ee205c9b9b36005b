"""The rules on hand-made histories, on noisy curves, and all of them through one contract."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gwa import RULES, BestValidation, Last, MaxGWA, MinThenMaxGWA, Oracle
from gwa.rules import (
    ChurnPerMisfit,
    ConsecutiveGradientDisparity,
    GradientDisparity,
    HaltingRule,
    LabelWave,
    LowestSharpness,
    LowestTrainLoss,
    LowestValidationLoss,
    MaxBoundedGWA,
)


def history(gwa=(), **fields):
    """Records whose fields are the given curves."""
    curves = {"gwa": gwa, **fields} if gwa else fields
    length = len(next(iter(curves.values())))
    return [
        {"epoch": i + 1, "progress": (i + 1) / length, **{field: curve[i] for field, curve in curves.items()}}
        for i in range(length)
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


def test_bounded_gwa_is_gwa_until_the_alignments_have_two_peaks():
    curves = {"alignment_mean": [0.1, 0.3, 0.2, 0.5], "excess_kurtosis": [0.8, 0.3, -0.6, -1.3]}
    scores = [0.1 / 2.0, 0.3 / 1.5, 0.2 / 0.6, 0.5 / 0.6]  # in epoch 4 GWA would be −5
    records = history(**curves)
    for length in range(1, 5):
        assert MaxBoundedGWA(warmup=0).select(records[:length]) == 1 + int(np.argmax(scores[:length]))
    assert MaxBoundedGWA(warmup=0, floor=3.0).select(records[:3]) == 2  # the mean alignment alone
    assert MaxBoundedGWA(warmup=0).select(history(alignment_mean=[1, 1], excess_kurtosis=[math.nan, 0])) == 2
    with pytest.raises(ValueError, match="floor must be positive"):
        MaxBoundedGWA(floor=0.0)


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


scores = st.none() | st.integers(-3, 9).map(float) | st.just(math.nan)


@given(curve=st.lists(scores, max_size=30), confirm=st.integers(1, 5))
def test_min_then_max_is_what_its_description_says(curve, confirm):
    """Searched in the whole curve at once; few different values, so that plateaus and ties are frequent."""
    known = [(epoch, value) for epoch, value in enumerate(curve, 1) if value is not None and not math.isnan(value)]
    values = [value for _, value in known]
    lowest = [i for i in range(len(known)) if values[i] == min(values[: i + 1])]
    followers = {i: values[i + 1 : i + 1 + confirm] for i in lowest}
    settled = [i for i in lowest if len(followers[i]) == confirm and min(followers[i]) > values[i]]
    chosen = MinThenMaxGWA(confirm=confirm).select(history(curve)) if curve else None
    if not known:
        assert chosen is None
    else:
        after = known[min(settled, default=lowest[-1]) :]
        assert chosen == max(after, key=lambda entry: entry[1])[0]  # the first of equals


def misled(confirm, noise):
    """In how many of 300 noisy curves, from 2 to 0 in 8 epochs and then up to 1, the choice lies before the dip."""
    shape = np.concatenate([np.linspace(2, 0, 9), np.linspace(0, 1, 17)[1:], np.linspace(1, 0.8, 9)[1:]])
    curves = shape + np.random.default_rng(0).normal(0, noise, (300, len(shape)))
    chosen = [MinThenMaxGWA(confirm=confirm).select(history(list(curve))) for curve in curves]
    return sum(epoch < 7 for epoch in chosen)


def test_three_epochs_confirm_a_minimum_under_noise_that_one_does_not():
    """The slope is 0.25 an epoch: noise of that size deceives one epoch above the minimum often, three hardly ever."""
    assert misled(confirm=1, noise=0.02) == 0
    assert misled(confirm=1, noise=0.25) > 100
    assert misled(confirm=3, noise=0.1) == 0
    assert misled(confirm=3, noise=0.25) <= 6


def test_the_other_rules():
    records = history(
        val_accuracy=[0.1, 0.7, 0.7, 0.2], val_loss=[2.0, 1.5, 1.0, 1.0], test_accuracy=[0.9, 0.3, 0.4, 0.95]
    )
    assert BestValidation().select(records) == 2
    assert LowestValidationLoss().select(records) == 3
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


def test_training_signals_skip_the_warmup():
    losses = [1, 5, 4, 3, 2, 2, 2.5, 3, 3, 3]
    assert LowestTrainLoss().select(history(train_loss=losses)) == 5
    assert LowestTrainLoss(warmup=0).select(history(train_loss=losses)) == 1


def test_label_wave_worked_by_hand():
    """PC′ with a window of 3 is 80, 60, 50, 53⅓, 56⅔, 50, 40 from epoch 4 on: its first minimum is epoch 6."""
    changes = [None, 100, 80, 60, 40, 50, 70, 50, 30, 40]
    records = history(prediction_changes=changes)
    assert LabelWave(patience=2).select(records) == 6
    assert [verdict.stop for verdict in verdicts(LabelWave(patience=2), records)] == [False] * 7 + [True] * 3
    # An equal value, here epoch 9, is no lower one: one more and patience 3 would have ended; the true minimum is last.
    assert LabelWave(patience=3).select(records) == 6
    assert LabelWave(patience=4).select(records) == 10
    assert LabelWave(patience=None).select(records) == 10
    # Without averaging the first minimum comes one epoch earlier.
    assert LabelWave(window=1, patience=2).select(records) == 5
    # Nothing is eligible before the window is full.
    assert LabelWave().select(records[:3]) is None


def test_gradient_disparity_worked_by_hand():
    """Increases at epochs 2, 3, 5, 6, 8: the fifth one is epoch 8; three in a row first come at epoch 12."""
    disparity = [1.0, 1.1, 1.2, 1.1, 1.3, 1.4, 1.2, 1.5, 1.5, 1.6, 1.7, 1.8]
    records = history(gradient_disparity=disparity)
    assert GradientDisparity().select(records) == 8
    assert GradientDisparity(increases=2).select(records) == 3
    assert [verdict.stop for verdict in verdicts(GradientDisparity(), records)] == [False] * 7 + [True] * 5
    assert ConsecutiveGradientDisparity(increases=3).select(records) == 12
    # Never five in a row: training runs to its end.
    assert ConsecutiveGradientDisparity().select(records) == 12
    assert not any(verdict.stop for verdict in verdicts(ConsecutiveGradientDisparity(), records))
    # A missing value is passed over, and does not count as an epoch between.
    assert ConsecutiveGradientDisparity(increases=2).select(history(gradient_disparity=[1, 2, None, 3, 2])) == 4


def test_churn_per_misfit_worked_by_hand():
    """The ratios are 1, 0.5, 0.4, 0.45 and 0.5: the last one exceeds the minimum of 0.4 by 25 %."""
    records = history(
        prediction_churn=[None, 0.5, 0.2, 0.12, 0.09, 0.075, 0.5],
        train_accuracy=[0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9],
    )
    assert ChurnPerMisfit(warmup=0).select(records) == 6
    assert ChurnPerMisfit(warmup=0, excess=0.3).select(records) == 7
    assert ChurnPerMisfit(warmup=0, excess=0.1).select(records) == 5
    # Where everything is fitted there is no ratio.
    assert ChurnPerMisfit(warmup=0).select(history(prediction_churn=[0.5, 0.1], train_accuracy=[0.5, 1.0])) == 1


@pytest.mark.parametrize("arguments", [{"patience": 0}, {"patience": -1}])
@pytest.mark.parametrize("name", RULES)
def test_impossible_patience(name, arguments):
    with pytest.raises(ValueError, match="patience"):
        RULES[name](**arguments)


@pytest.mark.parametrize(
    ("rule", "arguments"),
    [
        (MaxGWA, {"warmup": 1.0}),
        (MinThenMaxGWA, {"confirm": 0}),
        (LabelWave, {"window": 0}),
        (GradientDisparity, {"batches": 1}),
        (GradientDisparity, {"increases": 0}),
        (ChurnPerMisfit, {"patience": 3}),
        (LowestSharpness, {"batches": 0}),
        (LowestSharpness, {"radius": 0.0}),
    ],
)
def test_impossible_fields(rule, arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        rule(**arguments)


values = st.one_of(st.none(), st.just(math.nan), st.floats(-10, 10), st.integers(0, 3))


@pytest.mark.parametrize("name", RULES)
@settings(deadline=None)  # a busy machine
@given(data=st.data(), length=st.integers(0, 25), patience=st.integers(1, 5))
def test_contract(name, data, length, patience):
    """Every rule: selecting is the fold of updating, looks at the past alone, and reads what it says it needs.

    Curves have ties, plateaus, gaps and NaN; a run that is resumed goes on from a fold of its first records.
    """
    rule = RULES[name]() if issubclass(RULES[name], HaltingRule) else RULES[name](patience=patience)
    assert rule.name == name
    fields = {*rule.needs, "gwa"} - {"epoch", "progress"}
    curves = {field: data.draw(st.lists(values, min_size=length, max_size=length)) for field in fields}
    records = history(**curves) if length else []
    folded = verdicts(rule, records)
    for i, verdict in enumerate(folded):
        assert rule.select(records[: i + 1]) == verdict.best_epoch
        assert verdict.best_epoch is None or 1 <= verdict.best_epoch <= i + 1
        if verdict.stop:
            assert verdict.best_epoch is not None
            assert isinstance(rule, HaltingRule) or i + 1 - verdict.best_epoch >= patience
    cut = data.draw(st.integers(0, length))
    state = rule.init()
    for record in records[:cut]:
        state, _ = rule.update(state, record)
    for record, expected in zip(records[cut:], folded[cut:], strict=True):
        state, verdict = rule.update(state, record)
        assert verdict == expected
    bare = [{key: record[key] for key in {"epoch", *rule.needs}} for record in records]
    assert rule.select(bare) == rule.select(records)
    # A field that older records lack is as good as None.
    without = [{key: record[key] for key in ("epoch", "progress")} for record in records]
    assert rule.select(without) == (length or None if name == "last" else None)


FURTHER_STATE = (HaltingRule, MinThenMaxGWA, LabelWave, Last, MaxBoundedGWA)


@pytest.mark.parametrize("name", [name for name, rule in RULES.items() if not issubclass(rule, FURTHER_STATE)])
def test_a_plain_rule_keeps_the_first_extremum_of_its_field(name):
    rule = RULES[name]
    curve = [3, 5, 1, 5, 1, 2]
    records = history(**{rule.needs[0]: curve})
    assert rule(warmup=0).select(records) == 1 + curve.index(min(curve) if rule.smallest else max(curve))


@pytest.mark.parametrize("name", sorted(RULES))
def test_no_rule_keeps_a_partial_epoch(name):
    rule = RULES[name]()
    good = dict.fromkeys(rule.needs, 0.5) | {"epoch": 1, "progress": 0.5, "train_accuracy": 0.5}
    history = [good | {"epoch": epoch, "progress": 0.5 + epoch / 100} for epoch in range(1, 5)]
    assert rule.select(history) is not None
    assert rule.select([record | {"partial": True} for record in history]) is None
    better = {field: good[field] - 0.1 if rule.smallest else good[field] + 0.1 for field in rule.needs}
    assert rule.select([*history, better | {"epoch": 5, "progress": 0.6, "partial": True}]) != 5
