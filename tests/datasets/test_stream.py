"""The feed from disk: the same pictures whoever reads them, every one once, and damaged ones named."""

import numpy as np
import pytest

from configs import base
from datasets import folders, pictures, resident
from datasets.stream import Stream
from errors import UserError
from tests.datasets import image_folder


@pytest.fixture
def listing(tmp_path):
    return folders.load(str(image_folder.write(tmp_path)), 24).train


def config_of(**fields):
    config = base.get_config()
    config.dataset.stream.resize = 28
    config.dataset.stream.update(fields)
    return config


def read(listing, crops=(3, 2), columns=slice(None), **fields):
    """All batches of a pass of 4 × 2 per block; 15 rows leave one batch partial."""
    order = resident.shuffled(len(listing), seed=3, epoch=2)
    blocks = [(rows[:, columns], mask[:, columns]) for rows, mask, _ in resident.blocks(order, 4, 2)]
    stream = Stream(listing, config_of(**fields))
    return list(stream.read(blocks, crops)), stream


def test_every_row_comes_once_with_its_label_and_its_crop(listing):
    blocks, stream = read(listing)
    assert len(blocks) == 2
    assert all(block["image"].shape == (2, 4, 24, 24, 3) for block in blocks)
    seen = []
    for block in blocks:
        for index in np.argwhere(block["mask"] > 0):
            step, place = index.tolist()
            row = int(block["index"][step, place])
            assert block["label"][step, place] == listing.labels[row]
            rng = np.random.default_rng([3, 2, row])
            expected = pictures.training_crop(listing.pictures.read(row), 24, 0.05, rng)
            assert np.array_equal(block["image"][step, place], expected)
            seen.append(row)
    assert sorted(seen) == list(range(15))
    assert stream.skipped == set()


def test_one_thread_four_threads_and_two_processes_read_the_same(listing):
    one, _ = read(listing, threads=1)
    for fields in ({"threads": 4}, {"workers": 2}):
        other, _ = read(listing, **fields)
        for a, b in zip(one, other, strict=True):
            assert all(np.array_equal(a[name], b[name]) for name in a)


def test_two_hosts_read_the_halves_of_one(listing):
    whole, _ = read(listing)
    halves = [read(listing, columns=columns)[0] for columns in (slice(0, 2), slice(2, 4))]
    for block, left, right in zip(whole, *halves, strict=True):
        for name, array in block.items():
            assert np.array_equal(array, np.concatenate([left[name], right[name]], axis=1))


def test_evaluation_sees_the_middle(listing):
    (first, *_), _ = read(listing, crops=None)
    row = int(first["index"][0, 0])
    assert np.array_equal(first["image"][0, 0], pictures.evaluation_crop(listing.pictures.read(row), 28, 24))


def test_epochs_differ(listing):
    first, second = read(listing, crops=(3, 1))[0], read(listing, crops=(3, 2))[0]
    assert not np.array_equal(first[0]["image"], second[0]["image"])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_picture_ends_the_pass_and_is_named(listing, workers):
    damaged = listing.pictures.name(8)
    with open(damaged, "r+b") as file:
        file.truncate(200)
    with pytest.raises(UserError, match=r"n02/3\.jpg cannot be decoded .*dataset\.stream\.damaged=skip"):
        read(listing, workers=workers)


def test_damaged_pictures_can_be_skipped(listing):
    whole, _ = read(listing)
    open(listing.pictures.name(8), "wb").close()
    blocks, stream = read(listing, damaged="skip")
    assert stream.skipped == {listing.pictures.name(8)}
    seen = np.concatenate([block["index"][block["mask"] > 0] for block in blocks])
    assert sorted(seen.tolist()) == [row for row in range(15) if row != 8]
    for before, after in zip(whole, blocks, strict=True):
        kept = after["mask"] > 0
        assert np.array_equal(before["image"][kept], after["image"][kept])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"threads": -1}, r"dataset\.stream\.threads is -1"),
        ({"buffer": 0}, r"dataset\.stream\.buffer is 0"),
        ({"resize": 20}, r"dataset\.stream\.resize is 20; it must be at least 24"),
        ({"damaged": "ignore"}, r"dataset\.stream\.damaged is 'ignore'"),
    ],
)
def test_impossible_settings_are_refused(listing, fields, message):
    with pytest.raises(UserError, match=message):
        Stream(listing, config_of(**fields))
