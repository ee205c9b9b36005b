"""The feed from disk: the same images whoever reads them, every one once, and damaged ones named."""

import contextlib
import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys
import time

import cv2
import image_folder
import numpy as np
import pytest

from configs import base
from datasets import folders
from datasets.feeds import decoding
from datasets.feeds.order import BatchOrder, shuffle_rows
from datasets.feeds.stream import Stream
from errors import UserError


@pytest.fixture
def examples(tmp_path):
    return folders.load(str(image_folder.write(tmp_path, splits=["train"], per_class=25)), 24).train


IMAGE = cv2.imencode(".jpg", np.zeros((30, 30, 3), np.uint8))[1].tobytes()


def config_of(**fields):
    config = base.get_config()
    config.dataset.stream.resize = 28
    config.dataset.stream.update(fields)
    return config


def read(examples, epoch=2, seed=3, columns=slice(None), count=2, first=0, **fields):
    """Blocks of 2 batches of 20: 75 rows fill one and leave the second partial, and a block is three chunks."""
    order = BatchOrder(len(examples), 20, 2, seed)
    stream = Stream(examples, config_of(**fields))
    with contextlib.closing(stream.read(order, np.arange(20)[columns], epoch, first)) as reading:
        return [next(reading) for _ in range(count)], stream


def equal(one, other):
    return all(np.array_equal(a[name], b[name]) for a, b in zip(one, other, strict=True) for name in a)


def test_every_row_comes_once_with_its_label_and_its_crop(examples):
    blocks, stream = read(examples)
    assert all(block["image"].shape == (2, 20, 24, 24, 3) for block in blocks)
    order = shuffle_rows(75, seed=3, epoch=2)
    seen = []
    for block in blocks:
        for index in np.argwhere(block["mask"] > 0):
            step, place = index.tolist()
            row = int(block["index"][step, place])
            assert block["label"][step, place] == examples.labels[row]
            rng = np.random.default_rng([3, 2, row])
            expected = decoding.crop_for_training(examples.encoded.read(row), 24, 0.05, rng)
            assert np.array_equal(block["image"][step, place], expected)
            seen.append(row)
    assert seen == order.tolist()
    assert stream.skipped == set()


def test_crops_like_tensorflows(examples):
    config = config_of()
    config.augment.crop_like_tensorflow = True
    order = BatchOrder(len(examples), 20, 2, 3)
    with contextlib.closing(Stream(examples, config).read(order, np.arange(20), 2, 0)) as reading:
        block = next(reading)
    row = int(block["index"][0, 0])
    rng = np.random.default_rng([3, 2, row])
    expected = decoding.crop_for_training(examples.encoded.read(row), 24, 0.05, rng, like_tensorflow=True)
    assert np.array_equal(block["image"][0, 0], expected)


def test_one_thread_four_threads_and_two_processes_read_the_same(examples):
    one, _ = read(examples, threads=1)
    for fields in ({"threads": 4}, {"workers": 2}):
        assert equal(one, read(examples, **fields)[0])


def test_two_hosts_read_the_halves_of_one(examples):
    whole, _ = read(examples)
    halves = [read(examples, columns=columns)[0] for columns in (slice(0, 7), slice(7, 20))]
    for block, left, right in zip(whole, *halves, strict=True):
        for name, array in block.items():
            assert np.array_equal(array, np.concatenate([left[name], right[name]], axis=1))


@pytest.mark.parametrize("fields", [{"threads": 2}, {"workers": 2}])
def test_reading_goes_on_from_any_block_and_into_the_next_pass(examples, fields):
    passes = [read(examples, epoch=epoch)[0] for epoch in (2, 3)]
    assert not np.array_equal(passes[0][0]["image"], passes[1][0]["image"])
    assert equal(read(examples, first=1, count=3, **fields)[0], [passes[0][1], *passes[1]])


def test_the_last_block_is_not_waited_for_by_the_next_pass(examples, monkeypatch):
    """The first images of a pass are read while the end of the one before is in use."""
    asked = []
    monkeypatch.setattr(type(examples.encoded), "read", lambda self, row: asked.append(row) or IMAGE)
    following = shuffle_rows(75, seed=3, epoch=3)[:10].tolist()
    stream = Stream(examples, config_of(threads=1))
    with contextlib.closing(stream.read(BatchOrder(75, 20, 2, 3), np.arange(20), 2, 1)) as reading:
        next(reading)
        deadline = time.monotonic() + 20
        while asked[35:45] != following and time.monotonic() < deadline:
            time.sleep(0.01)
    assert asked[35:45] == following


def test_passes_in_order_are_all_the_same(examples):
    first, second, third, fourth = read(examples, seed=None, count=4)[0]
    assert equal([first, second], [third, fourth])
    assert np.concatenate([first["index"].ravel(), second["index"].ravel()])[:75].tolist() == list(range(75))


def test_evaluation_sees_the_middle(examples):
    (first, *_), _ = read(examples, seed=None)
    row = int(first["index"][0, 0])
    assert np.array_equal(first["image"][0, 0], decoding.crop_for_evaluation(examples.encoded.read(row), 28, 24))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_ends_the_pass_and_is_named(examples, workers):
    damaged = examples.encoded.name(33)
    with open(damaged, "r+b") as file:
        file.truncate(200)
    with pytest.raises(UserError, match=rf"{damaged} cannot be decoded .*dataset\.stream\.damaged=skip"):
        read(examples, workers=workers)


@pytest.mark.parametrize("damaged", ["fail", "skip"])
def test_an_image_that_is_gone_is_not_taken_for_damaged(examples, damaged):
    pathlib.Path(examples.encoded.name(33)).unlink()
    with pytest.raises(UserError, match=r"cannot be read \(.*No such file.*the same command continues"):
        read(examples, damaged=damaged)


def test_damaged_images_can_be_skipped(examples):
    whole, _ = read(examples)
    open(examples.encoded.name(33), "wb").close()
    blocks, stream = read(examples, damaged="skip")
    assert stream.skipped == {examples.encoded.name(33)}
    seen = np.concatenate([block["index"][block["mask"] > 0] for block in blocks])
    assert sorted(seen.tolist()) == [row for row in range(75) if row != 33]
    for before, after in zip(whole, blocks, strict=True):
        kept = after["mask"] > 0
        assert np.array_equal(before["image"][kept], after["image"][kept])


def test_crops_larger_than_the_image_are_refused(examples):
    with pytest.raises(UserError, match=r"dataset\.stream\.resize is 20; it must be at least 24, the crop's side"):
        Stream(examples, config_of(resize=20))


def test_shared_memory_must_hold_what_the_workers_hand_over(examples, monkeypatch):
    """A container has 64 MB of it by default, and the kernel kills who writes beyond."""
    free = 64_000_000
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(free, 0, free))
    large = dataclasses.replace(examples, image_shape=(224, 224, 3))
    Stream(large, config_of(workers=8, resize=256))
    with pytest.raises(UserError, match=r"workers is 9; they need 65 MB of shared memory, and /dev/shm has 64 MB"):
        Stream(large, config_of(workers=9, resize=256))


READS = """
import multiprocessing, sys, time
import numpy as np
from configs import base
from datasets import folders
from datasets.feeds.order import BatchOrder
from datasets.feeds.stream import Stream

if __name__ == "__main__":
    config = base.get_config()
    config.dataset.stream.update({"workers": 1, "resize": 28})
    examples = folders.load(sys.argv[1], 24).train
    reading = Stream(examples, config).read(BatchOrder(75, 75, 1, 0), np.arange(75), 1, 0)
    next(reading)
    print(*[child.pid for child in multiprocessing.active_children()], flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(not pathlib.Path("/dev/shm").is_dir(), reason="no /dev/shm")
def test_workers_do_not_outlive_a_process_that_is_killed(examples, tmp_path):
    (tmp_path / "reads.py").write_text(READS)
    before = set(os.listdir("/dev/shm"))
    command = [sys.executable, str(tmp_path / "reads.py"), str(examples.encoded._root)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        (worker,) = map(int, process.stdout.readline().split())
        os.kill(worker, 0)  # it is there
        process.kill()
    deadline = time.monotonic() + 20
    while pathlib.Path(f"/proc/{worker}").exists() or set(os.listdir("/dev/shm")) - before:
        assert time.monotonic() < deadline
        time.sleep(0.05)
