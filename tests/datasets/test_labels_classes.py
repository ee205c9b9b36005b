"""A part of the classes: which rows stay, under which number, in every split."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import datasets
from configs import base
from datasets.examples import Examples
from datasets.labels import keep_classes, map_classes
from errors import UserError

NAMES = ("airplane", "automobile", "bird", "cat", "deer")


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


def build(**fields):
    config = base.get_config().dataset
    config.update({"name": "digits", **fields})
    return datasets.build(config)


def test_every_split_has_the_classes_and_nothing_else():
    whole, part = build(), build(classes=("7", "2", "4"), val_fraction=0.1)
    assert part.class_names == ("7", "2", "4")
    original = np.array([7, 2, 4])
    for split in (part.train, part.val):
        assert set(split.labels) == {0, 1, 2}
        row_of = {row: i for i, row in enumerate(whole.train.rows)}
        assert [whole.train.labels[row_of[row]] for row in split.rows] == original[split.labels].tolist()
    assert len(part.train) + len(part.val) == np.isin(whole.train.labels, original).sum()
    assert len(part.test) == np.isin(whole.test.labels, original).sum()


def test_noise_stays_within_the_classes():
    noisy = build(classes=("0", "1", "8"), label_noise={"kind": "symmetric", "rate": 0.5})
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
        build(name="arrays", path=str(path), classes=("cat", "deer"))
