"""Label noise, subsets, validation splits and chosen classes: shares counted by hand, properties for any labels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import datasets
from configs import base
from datasets.examples import Examples
from datasets.labels import corrupt_labels, draw_stratified, keep_classes, map_classes
from errors import UserError

labels_of_any_set = st.lists(st.integers(0, 6), min_size=1, max_size=200).map(np.array)


@settings(max_examples=50)
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


@settings(max_examples=50)
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
        ((10, "none", 0.1), "kind is 'none'|its kind is 'none'"),
        ((7, "asymmetric", 0.1), "class map"),
    ],
)
def test_impossible_noise(arguments, message):
    with pytest.raises(UserError, match=message):
        corrupt_labels(np.zeros(5, int), *arguments, seed=0)


CLEAN_VAL = {"val_labels": "clean"}


def build_digits(**fields):
    config = base.get_config().dataset
    config.update({"name": "digits", **fields})
    return datasets.build(config)


def test_build_applies_noise_subset_and_split():
    noise = {"kind": "symmetric", "rate": 0.2}
    splits = build_digits(label_noise=noise, train_examples=1000, val_fraction=0.1)
    assert (len(splits.train), len(splits.val)) == (900, 100)
    assert not set(splits.train.rows) & set(splits.val.rows)
    for examples in (splits.train, splits.val):
        # Noise on 20 % of all 1,438; a stratified part holds about as much of it.
        assert np.mean(examples.labels != examples.clean_labels) == pytest.approx(0.2, abs=0.08)
    assert np.array_equal(splits.test.labels, splits.test.clean_labels)


def test_validation_reads_clean_labels_only_where_the_config_says_so():
    noise = {"kind": "symmetric", "rate": 0.4}
    observed, clean = (build_digits(label_noise=noise, val_fraction=0.2, **fields) for fields in ({}, CLEAN_VAL))
    assert np.mean(observed.val.labels != observed.val.clean_labels) == pytest.approx(0.4, abs=0.1)
    assert np.array_equal(clean.val.labels, observed.val.clean_labels)
    for one, other in ((observed.train, clean.train), (observed.val, clean.val)):
        assert np.array_equal(one.rows, other.rows)
        assert np.array_equal(one.images, other.images)
        assert np.array_equal(one.clean_labels, other.clean_labels)
    assert np.array_equal(observed.train.labels, clean.train.labels)
    assert np.mean(clean.train.labels != clean.train.clean_labels) == pytest.approx(0.4, abs=0.1)


def test_clean_validation_labels_that_nobody_knows(tmp_path):
    path = tmp_path / "set.npz"
    arrays = {"images": np.zeros((8, 2, 2, 1), np.uint8), "labels": np.arange(8) % 2}
    fields = {"name": "arrays", "path": str(path), "val_fraction": 0.5, **CLEAN_VAL}
    np.savez(path, **arrays)
    with pytest.raises(UserError, match=r"dataset\.val_labels is 'clean', but .* not known"):
        build_digits(**fields)
    assert build_digits(**fields | {"val_fraction": 0.0}).val is None  # as there are none to know
    names = np.array(["a", "b", "c"])
    np.savez(path, **arrays, clean_labels=np.full(8, 2), class_names=names)
    with pytest.raises(UserError, match=r"dataset\.val_labels is 'clean', but 4 of 4 .* none of dataset\.classes"):
        build_digits(**fields, classes=("a", "b"))
    assert build_digits(**fields).val.labels.tolist() == [2] * 4


def test_the_clean_labels_are_those_before_the_noise():
    noisy = build_digits(label_noise={"kind": "uniform", "rate": 1.0}).train
    plain = build_digits().train
    assert np.array_equal(noisy.clean_labels, plain.labels)
    assert np.array_equal(noisy.rows, plain.rows)


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 100))
def test_data_depend_on_their_own_seed(seed):
    first, second = (build_digits(seed=seed, val_fraction=0.2) for _ in range(2))
    assert np.array_equal(first.val.rows, second.val.rows)
    other = build_digits(seed=seed + 1, val_fraction=0.2)
    assert not np.array_equal(first.val.rows, other.val.rows)


@pytest.mark.parametrize(
    "fields",
    [
        {"val_fraction": 0.9999},
        {"val_fraction": 0.0001},
        {"train_examples": 5000},
    ],
)
def test_impossible_parts(fields):
    with pytest.raises(UserError, match="dataset." + next(iter(fields))):
        build_digits(**fields)


NAMES = ("airplane", "automobile", "bird", "cat", "deer")


@settings(max_examples=50)
@given(
    labels=st.lists(st.integers(0, 4), max_size=60),
    names=st.lists(st.sampled_from(NAMES), min_size=2, max_size=5, unique=True),
    seed=st.integers(0, 3),
)
def test_the_kept_examples_keep_their_class_and_order(labels, names, seed):
    observed = np.array(labels, np.int32)
    clean = np.random.default_rng(seed).integers(0, 5, len(labels))
    examples = Examples.of(np.arange(len(labels), dtype=np.uint8)[:, None, None, None], observed, clean)
    kept = keep_classes(examples, map_classes(names, NAMES))
    expected = [row for row, label in enumerate(labels) if NAMES[label] in names]
    assert kept.rows.tolist() == expected
    assert kept.images.ravel().tolist() == expected
    assert [names[label] for label in kept.labels] == [NAMES[labels[row]] for row in expected]
    clean_names = [names[label] if label >= 0 else None for label in kept.clean_labels]
    assert clean_names == [NAMES[clean[row]] if NAMES[clean[row]] in names else None for row in expected]
    assert kept.labels.dtype == np.int32


def test_every_split_has_the_classes_and_nothing_else():
    whole, part = build_digits(), build_digits(classes=("7", "2", "4"), val_fraction=0.1)
    assert part.class_names == ("7", "2", "4")
    original = np.array([7, 2, 4])
    for split in (part.train, part.val):
        assert set(split.labels) == {0, 1, 2}
        row_of = {row: i for i, row in enumerate(whole.train.rows)}
        assert [whole.train.labels[row_of[row]] for row in split.rows] == original[split.labels].tolist()
    assert len(part.train) + len(part.val) == np.isin(whole.train.labels, original).sum()
    assert len(part.test) == np.isin(whole.test.labels, original).sum()


def test_noise_stays_within_the_classes():
    noisy = build_digits(classes=("0", "1", "8"), label_noise={"kind": "symmetric", "rate": 0.5})
    assert set(noisy.train.labels) == {0, 1, 2}
    assert np.mean(noisy.train.labels != noisy.train.clean_labels) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("bird", "aeroplane"), "no class 'aeroplane' among 5; names like it: airplane$"),
        (("bird", "zzz"), "names like it: airplane, automobile, bird$"),
        (("bird",), "at least two classes"),
        (("bird", "bird"), "none twice"),
    ],
)
def test_impossible_classes(names, message):
    with pytest.raises(UserError, match=message):
        map_classes(names, NAMES)


def test_classes_without_examples(tmp_path):
    path = tmp_path / "set.npz"
    images = np.zeros((4, 2, 2, 1), np.uint8)
    np.savez(path, images=images, labels=np.array([0, 1, 0, 1]), class_names=np.array(NAMES))
    with pytest.raises(UserError, match=r"dataset\.classes is .* none of them has training examples"):
        build_digits(name="arrays", path=str(path), classes=("cat", "deer"))
