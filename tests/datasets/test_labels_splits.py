"""Label noise, subsets and validation splits: shares counted by hand, and properties for any labels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict

import datasets
from configs import base
from datasets.labels import corrupt_labels, draw_stratified
from errors import UserError

labels_of_any_set = st.lists(st.integers(0, 6), min_size=1, max_size=200).map(np.array)


@given(labels=labels_of_any_set, share=st.floats(0, 1), seed=st.integers(0, 5))
def test_stratified(labels, share, seed):
    count = round(share * len(labels))
    drawn, remaining = draw_stratified(labels, count, seed)
    assert len(drawn) == count
    assert sorted([*drawn, *remaining]) == list(range(len(labels)))
    for label in np.unique(labels):
        exact = np.sum(labels == label) * count / len(labels)
        assert abs(np.sum(labels[drawn] == label) - exact) < 1
    again, _ = draw_stratified(labels, count, seed)
    assert np.array_equal(drawn, again)


def test_stratified_draws_every_row_equally_often():
    labels = np.repeat([0, 1], [30, 10])
    drawn = np.zeros(40)
    for seed in range(800):
        drawn[draw_stratified(labels, 10, seed)[0]] += 1
    # 800 draws of a quarter: 200 ± 12.2; six standard deviations
    assert np.abs(drawn - 200).max() < 74
    assert drawn.sum() == 8000


@given(labels=labels_of_any_set, rate=st.floats(0, 1))
def test_symmetric_noise_makes_exactly_its_share_wrong(labels, rate):
    noisy = corrupt_labels(labels, 7, "symmetric", rate, seed=0)
    assert np.sum(noisy != labels) == round(rate * len(labels))
    assert noisy.min() >= 0
    assert noisy.max() < 7


def test_symmetric_noise_reaches_every_other_class_alike():
    labels = np.full(70_000, 3)
    counts = np.bincount(corrupt_labels(labels, 8, "symmetric", 1.0, seed=1), minlength=8)
    assert counts[3] == 0
    # 10,000 ± 93 each
    assert np.abs(np.delete(counts, 3) - 10_000).max() < 500


def test_asymmetric_noise_follows_the_class_map():
    labels = np.repeat(np.arange(10), 100)
    noisy = corrupt_labels(labels, 10, "asymmetric", 0.4, seed=0)
    expected = {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}  # truck→automobile, bird→airplane, deer→horse, cat↔dog
    for label in range(10):
        changed = noisy[labels == label]
        assert np.sum(changed != label) == (40 if label in expected else 0)
        assert set(changed) <= {label, expected.get(label, label)}


def test_uniform_noise_is_random_labels():
    labels = np.zeros(50_000, int)
    noisy = corrupt_labels(labels, 10, "uniform", 1.0, seed=0)
    assert np.abs(np.bincount(noisy) - 5000).max() < 400  # ± 67
    half = corrupt_labels(labels, 10, "uniform", 0.5, seed=0)
    assert np.mean(half != labels) == pytest.approx(0.45, abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((10, "pairs", 0.1), "kind is 'pairs'"),
        ((10, "symmetric", 1.5), r"rate is 1\.5"),
        ((10, "none", 0.1), "kind is 'none'|its kind is 'none'"),
        ((7, "asymmetric", 0.1), "class map"),
    ],
)
def test_impossible_noise(arguments, message):
    with pytest.raises(UserError, match=message):
        corrupt_labels(np.zeros(5, int), *arguments, seed=0)


def digits(**fields) -> ConfigDict:
    config = base.get_config().dataset
    config.update({"name": "digits", **fields})
    return config


def test_build_applies_noise_subset_and_split():
    noise = {"kind": "symmetric", "rate": 0.2}
    splits = datasets.build(digits(label_noise=noise, train_examples=1000, val_fraction=0.1))
    assert (len(splits.train), len(splits.val)) == (900, 100)
    assert not set(splits.train.rows) & set(splits.val.rows)
    for examples in (splits.train, splits.val):
        # Noise on 20 % of all 1,438; a stratified part holds about as much of it.
        assert np.mean(examples.labels != examples.clean_labels) == pytest.approx(0.2, abs=0.08)
    assert np.array_equal(splits.test.labels, splits.test.clean_labels)


def test_the_clean_labels_are_those_before_the_noise():
    noisy = datasets.build(digits(label_noise={"kind": "uniform", "rate": 1.0})).train
    plain = datasets.build(digits()).train
    assert np.array_equal(noisy.clean_labels, plain.labels)
    assert np.array_equal(noisy.rows, plain.rows)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 100))
def test_data_depend_on_their_own_seed(seed):
    first, second = (datasets.build(digits(seed=seed, val_fraction=0.2)) for _ in range(2))
    assert np.array_equal(first.val.rows, second.val.rows)
    other = datasets.build(digits(seed=seed + 1, val_fraction=0.2))
    assert not np.array_equal(first.val.rows, other.val.rows)


@pytest.mark.parametrize(
    "fields", [{"val_fraction": 1.0}, {"val_fraction": -0.1}, {"train_examples": -1}, {"train_examples": 5000}]
)
def test_impossible_parts(fields):
    with pytest.raises(UserError, match="dataset." + next(iter(fields))):
        datasets.build(digits(**fields))
