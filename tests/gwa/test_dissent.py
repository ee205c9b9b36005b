"""Dissent, by hand and against its definition, sample by sample."""

import math

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwa.rules import Dissent, HardDissent
from gwa.rules.dissent import measure_hard_dissent, sample_dissent, vote

# Four samples, five epochs, labels 0, 1, 2, 0. Votes are 1, 4, 9 and 16 for the predictions of epochs 1 to 4.
LABELS = np.array([0, 1, 2, 0])
PREDICTIONS = np.array(
    [
        [0, 2, 1, 1],
        [0, 2, 1, 2],
        [0, 1, 1, 1],
        [0, 1, 2, 0],
        [0, 1, 2, 0],
    ]
)
PAST = {
    2: [0, 2, 1, 1],  # what was predicted in epoch 1
    3: [0, 2, 1, 2],  # the last sample: 1 vote for class 1, 4 for class 2
    4: [0, 1, 1, 1],  # the second: 5 for class 2, 9 for class 1; the last: 10 for class 1, 4 for class 2
    5: [0, 1, 2, 0],  # the third: 14 for class 1, 16 for class 2; the last: 10 for class 1, 4 for 2, 16 for 0
}
HARD = {
    2: (1 + 1 + 0) / 4,  # samples 2, 3 and 4 have a past that is not their label; the last is predicted as neither
    3: (-1 + 1 + 0) / 4,  # sample 2 is predicted as labelled, 3 as ever, 4 as neither
    4: (-1 - 1) / 4,  # samples 3 and 4 are predicted as labelled
    5: 0.0,  # no past contradicts a label
}


@pytest.mark.parametrize("epoch", PAST)
def test_by_hand(epoch):
    past = vote(PREDICTIONS[: epoch - 1], 3)
    assert past.tolist() == PAST[epoch]
    assert measure_hard_dissent(PREDICTIONS[epoch - 1], past, LABELS) == HARD[epoch]


def test_the_rule_by_hand():
    """Averages over five epochs, so over all of them: 0.5, 0.25, 0, 0; the epoch of 0.5 is the second."""
    history = [{"epoch": 1, "progress": 0.2, "hard_dissent": None}]
    history += [{"epoch": epoch, "progress": epoch / 5, "hard_dissent": value} for epoch, value in HARD.items()]
    assert HardDissent().select(history) == 2
    assert HardDissent(warmup=0.5).select(history) == 3
    assert HardDissent(least=1, share=0.0).select(history[2:]) == 3
    assert Dissent().select(history) is None


def test_the_latest_prediction_decides_ties():
    """9 + 16 votes for one class, 25 for the other: the class of epoch 5 wins, whatever its number."""
    assert vote(np.array([[3], [3], [0], [0], [1]]), 4).tolist() == [1]
    assert vote(np.array([[3], [3], [1], [1], [0]]), 4).tolist() == [0]


def define(predictions, labels, num_classes):
    """The definition, one sample at a time."""
    values = []
    for epoch in range(2, len(predictions) + 1):
        total = 0.0
        for i, label in enumerate(labels):
            votes = [sum(e**2 for e in range(1, epoch) if predictions[e - 1][i] == k) for k in range(num_classes)]
            most = [k for k in range(num_classes) if votes[k] == max(votes)]
            past = predictions[epoch - 2][i] if predictions[epoch - 2][i] in most else most[0]
            if past != label:
                total += (predictions[epoch - 1][i] == past) - float(predictions[epoch - 1][i] == label)
        values.append(total / len(labels))
    return values


@pytest.mark.parametrize(("predictions", "held"), [([[0, 3]], "0 to 3"), ([[-2, 1]], "-2 to 1")])
def test_a_class_that_there_is_not_is_refused(predictions, held):
    with pytest.raises(ValueError, match=f"^predictions are {held}; they must be -1 to 2$"):
        vote(np.array(predictions), num_classes=3)


@given(st.integers(0, 2**32 - 1), st.integers(2, 4), st.integers(2, 9))
def test_against_the_definition(seed, num_classes, epochs):
    rng = np.random.default_rng(seed)
    labels, predictions = rng.integers(0, num_classes, 12), rng.integers(0, num_classes, (epochs, 12))
    values = [
        measure_hard_dissent(predictions[e - 1], vote(predictions[: e - 1], num_classes), labels)
        for e in range(2, epochs + 1)
    ]
    assert values == pytest.approx(define(predictions, labels, num_classes), abs=1e-12)


def test_samples_on_the_device_are_those_of_the_definition():
    """Certain predictions give the hard form; and softmax in float64."""
    rng = np.random.default_rng(0)
    past, labels, predictions = rng.integers(-1, 5, 200), rng.integers(0, 5, 200), rng.integers(0, 5, 200)
    logits = 1000 * np.eye(5, dtype=np.float32)[predictions]
    hard = np.mean(jax.jit(sample_dissent)(logits, past, labels))
    assert float(hard) == pytest.approx(measure_hard_dissent(predictions, past, labels), abs=1e-6)
    logits = rng.normal(size=(200, 5))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    rows = np.arange(200)
    expected = np.where((past >= 0) & (past != labels), p[rows, past] - p[rows, labels], 0)
    np.testing.assert_allclose(jax.jit(sample_dissent)(logits, past, labels), expected, atol=1e-6)


def test_samples_that_were_not_seen_do_not_count():
    predictions = np.array([[0, -1, 1], [-1, -1, 0]])
    past = vote(predictions, 2)
    assert past.tolist() == [0, -1, 0]
    assert vote(np.full((2, 3), -1), 0).tolist() == [-1, -1, -1]
    assert measure_hard_dissent(np.array([0, 1, -1]), past, np.array([1, 0, 1])) == 1 / 2
    assert math.isnan(measure_hard_dissent(np.full(3, -1), past, np.zeros(3, int)))


def test_the_window_grows_with_the_epochs():
    """At epoch 30 it holds ten epochs: 21 to 30."""
    signal = [0.0] * 20 + [1.0] * 10
    history = [{"epoch": e, "progress": e / 30, "dissent": value} for e, value in enumerate(signal, start=1)]
    assert Dissent().select(history) == 30
    assert Dissent(share=0.0).select(history) == 25  # five epochs from the 21st on


@pytest.mark.parametrize("arguments", [{"least": 0}, {"share": 1.5}, {"longest_warmup": -1}])
def test_impossible_parameters(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        Dissent(**arguments)


def test_an_epoch_with_scores_that_are_not_finite_is_not_kept_though_the_average_is_highest():
    values = (0.1, 0.5, 0.5, 0.5, 0.5, 0.5)
    history = [{"epoch": e, "progress": 1.0, "dissent": value} for e, value in enumerate(values, start=1)]
    rule = Dissent(warmup=0.0, share=0.0)
    assert rule.select([*history[:1], *({**record, "dissent": 0.5} for record in history[1:])]) == 6
    history[5] |= {"num_samples": 100, "non_finite_alignments": 2}
    assert rule.select(history) == 5
