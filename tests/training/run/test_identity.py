"""What a run knows of its data: what has changed is said in one line, with an example."""

import os
import shutil

import cv2
import numpy as np
import pytest

import datasets
from configs import base
from errors import UserError
from training.run import identity
from training.run.identity import check_data, describe_data, find_difference
from training.run.records import Records

RNG = np.random.default_rng(0)
ARRAYS = {
    "images": RNG.integers(0, 256, (60, 8, 8), dtype=np.uint8),
    "labels": np.arange(60) % 3,
    "clean_labels": np.arange(60) % 3,
    "test_images": RNG.integers(0, 256, (12, 8, 8), dtype=np.uint8),
    "test_labels": np.arange(12) % 3,
    "class_names": np.array(["cat", "dog", "owl"]),
}
TRAINING = ("images", "labels", "clean_labels")
ORDER = RNG.permutation(60)


def describe(dataset, **fields):
    config = base.get_config().dataset
    config.update({**dataset, **fields})
    return describe_data(datasets.build(config))


def describe_arrays(tmp_path, arrays, **fields):
    np.savez(tmp_path / "mine.npz", **arrays)
    return describe({"name": "arrays", "path": str(tmp_path / "mine.npz")}, **fields)


def changed(name, places, value):
    array = ARRAYS[name].copy()
    array[places] = value
    return ARRAYS | {name: array}


@pytest.mark.parametrize(
    ("arrays", "difference"),
    [
        (ARRAYS, None),
        (ARRAYS | {name: ARRAYS[name][:57] for name in TRAINING}, "57 images instead of 60"),
        (ARRAYS | {name: ARRAYS[name][ORDER] for name in TRAINING}, "the same images in another order of rows"),
        (changed("labels", [4, 7, 19, 22, 40], 0), "5 labels changed, such as of row 4"),
        (changed("clean_labels", [4], 0), "1 clean label changed, such as of row 4"),
        (changed("images", 17, 0), "1 image changed, such as of row 17"),
        (changed("test_images", [3, 5], 0), "2 test images changed, such as of row 3"),
        (changed("test_labels", 4, 0), "1 test label changed, such as of row 4"),
        (
            {name: array for name, array in ARRAYS.items() if not name.startswith("test")},
            "there are no test data any more",
        ),
        (changed("class_names", 1, "cow"), "3 classes instead of 3, such as dog, now cow"),
    ],
)
@pytest.mark.parametrize("val_fraction", [0.0, 0.2])
def test_what_differs_in_arrays_is_said(tmp_path, arrays, difference, val_fraction):
    before = describe_arrays(tmp_path, ARRAYS, val_fraction=val_fraction)
    assert ("val_rows" in before) == (val_fraction > 0)
    assert find_difference(before, describe_arrays(tmp_path, arrays, val_fraction=val_fraction)) == difference


def test_other_rows_of_a_subset_are_noticed(tmp_path):
    """With more examples in the source, others are drawn."""
    more = {name: np.concatenate([ARRAYS[name]] * 2) for name in TRAINING}
    before, now = (describe_arrays(tmp_path, arrays, train_examples=30) for arrays in (ARRAYS, ARRAYS | more))
    assert find_difference(before, now) == "other rows of the source are drawn"


@pytest.fixture
def folder(tmp_path):
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / "images" / split / name).mkdir(parents=True)
            for i in range(8):
                cv2.imwrite(str(tmp_path / "images" / split / name / f"{i}.png"), np.full((9, 9, 3), 20 * i, np.uint8))
    return tmp_path / "images"


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (lambda root: None, None),
        (lambda root: os.utime(root / "train" / "cat" / "7.png", (0, 0)), None),
        (lambda root: (root / "train/cat/7.png").unlink(), "1 image missing, such as train/cat/7.png"),
        (
            lambda root: [(root / f"train/dog/{i}.png").unlink() for i in (2, 5, 6)],
            "3 images missing, such as train/dog/2.png",
        ),
        (
            lambda root: (root / "train/cat/7.png").rename(root / "train/dog/9.png"),
            "1 image missing, such as train/cat/7.png and 1 image added, such as train/dog/9.png",
        ),
        (
            lambda root: shutil.copy(root / "train/cat/7.png", root / "test/cat/9.png"),
            "1 test image added, such as cat/9.png",
        ),
        (
            lambda root: cv2.imwrite(str(root / "train/cat/7.png"), RNG.integers(0, 256, (99, 9, 3), dtype=np.uint8)),
            "1 image changed, such as of train/cat/7.png",
        ),
    ],
)
@pytest.mark.parametrize("val_fraction", [0.0, 0.25])
def test_what_differs_in_a_folder_is_said(folder, change, difference, val_fraction):
    fields = {"name": "folder", "path": str(folder), "feed": "stream", "image_size": 8, "val_fraction": val_fraction}
    before = describe(fields)
    change(folder)
    assert find_difference(before, describe(fields)) == difference


def test_of_many_files_only_some_are_looked_at(folder, monkeypatch):
    fields = {"name": "folder", "path": str(folder), "feed": "stream", "image_size": 8}
    monkeypatch.setattr(identity, "_STATED", 5)  # of 16
    assert np.flatnonzero(describe(fields)["checksums"]).tolist() == [0, 4, 8, 12]


def test_what_an_older_version_kept_is_compared_and_no_more(tmp_path):
    now = describe_arrays(tmp_path, ARRAYS, val_fraction=0.2)
    old = {name: now[name] for name in ("labels", "rows", "class_names", "clean_labels")}
    assert find_difference(old, now) is None
    old["labels"] = (old["labels"] + (np.arange(48) == 5)) % 3
    assert find_difference(old, now) == f"1 label changed, such as of row {now['rows'][5]}"


def test_the_message_names_the_run_and_what_would_be_right(tmp_path, capsys):
    before, now = (describe_arrays(tmp_path, arrays) for arrays in (ARRAYS, changed("images", 17, 0)))
    Records(tmp_path).write_labels(before)
    check_data(tmp_path, before)
    with pytest.raises(UserError, match=rf"run in {tmp_path} began: 1 image changed.*; put them back") as error:
        check_data(tmp_path, now)
    assert "overwrite" not in str(error.value)
    (tmp_path / "labels.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"labels\.npz is damaged"):
        check_data(tmp_path, now)
    (tmp_path / "labels.npz").unlink()
    check_data(tmp_path, now)
    assert "labels.npz is missing: nothing shows" in capsys.readouterr().err
