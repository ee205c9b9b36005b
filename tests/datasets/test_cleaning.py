"""Cleaning by a file of label issues: which rows it changes, which it leaves alone, and which files are refused."""

import hashlib

import image_folder
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_files import write_label_file

import datasets
from configs import base
from errors import UserError

NOISE = {"kind": "symmetric", "rate": 0.2}


def build(**fields):
    config = base.get_config().dataset
    config.update({"name": "digits", "label_noise": NOISE, "train_examples": 400, "val_fraction": 0.25} | fields)
    return datasets.build(config)


@pytest.fixture(scope="module")
def splits():
    return build()


def same(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("labels", "clean_labels", "rows"))


def test_drop(splits, tmp_path):
    flagged = [3, 10, 299]
    file = write_label_file(tmp_path / "issues.csv", splits.train, flagged, suggested=0)
    cleaned = build(labels=file)
    kept = np.delete(np.arange(300), flagged)
    assert same(cleaned.train, splits.train.take(kept))
    assert np.array_equal(cleaned.train.images, splits.train.images[kept])
    assert same(cleaned.val, splits.val)
    assert same(cleaned.test, splits.test)
    assert cleaned.cleaning == datasets.Cleaning(
        file, hashlib.sha256((tmp_path / "issues.csv").read_bytes()).hexdigest(), None, "drop", 3, 3, 297
    )
    assert splits.cleaning is None


def test_a_tilde_is_the_home_folder(splits, tmp_path, monkeypatch):
    write_label_file(tmp_path / "issues.csv", splits.train, [3], suggested=0)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(build(labels="~/issues.csv").train) == 299


def test_relabel(splits, tmp_path):
    """The clean labels stay what they are, and a suggested label that is the given one changes nothing."""
    flagged = np.flatnonzero(splits.train.labels < 3)
    file = write_label_file(tmp_path / "issues.csv", splits.train, flagged.tolist(), suggested=2)
    cleaned = build(labels=file, clean="relabel")
    assert np.array_equal(cleaned.train.labels, np.where(splits.train.labels < 3, 2, splits.train.labels))
    assert np.array_equal(cleaned.train.clean_labels, splits.train.clean_labels)
    assert np.array_equal(cleaned.train.rows, splits.train.rows)
    assert same(cleaned.val, splits.val)
    assert cleaned.cleaning.flagged == len(flagged)
    assert cleaned.cleaning.changed == np.sum(splits.train.labels < 2)
    assert cleaned.cleaning.kept == 300


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_rows_decide_and_not_the_order_of_the_lines(splits, tmp_path_factory, seed):
    """Rows that the file does not list are kept."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(300)[: rng.integers(1, 300)]
    listed = splits.train.take(order)
    flagged = rng.choice(len(order), len(order) // 2, replace=False)
    suggested = rng.integers(0, 10, len(order))
    file = tmp_path_factory.mktemp("file") / "issues.csv"
    name = write_label_file(file, listed, flagged.tolist(), suggested=0, predicted_label=suggested.tolist())
    wanted = splits.train.labels.copy()
    wanted[order[flagged]] = suggested[flagged]
    assert np.array_equal(build(labels=name, clean="relabel").train.labels, wanted)
    assert set(build(labels=name).train.rows) == set(splits.train.rows) - set(listed.rows[flagged])


def test_held_out_rows_and_those_outside_the_subset_are_left_alone(splits, tmp_path):
    """The file of a run on all examples, with nothing held out."""
    everything = build(train_examples=0, val_fraction=0.0)
    assert len(everything.train) == 1438
    file = write_label_file(tmp_path / "issues.csv", everything.train, list(range(1400)), suggested=0)
    cleaned = build(labels=file)
    assert set(cleaned.train.rows) == set(splits.train.rows) & set(everything.train.rows[1400:])
    assert same(cleaned.val, splits.val)
    assert (cleaned.cleaning.flagged, cleaned.cleaning.changed) == (1400, 300 - len(cleaned.train))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"row": list(range(5000, 5300))}, "for row 5000 it has the row 5000, and the data have no such row"),
        ({"row": [7] * 300}, "lists a row twice"),
        ({"row": None}, "no single column row"),
        ({"predicted_label": None}, "no single column predicted_label"),
        ({"is_label_issue": ["perhaps"] * 300}, "is not a CSV file of label issues"),
        ({"is_label_issue": [""] * 300}, "300 empty cells in the column is_label_issue"),
        ({"given_label": [0.5] * 300}, "is not a CSV file of label issues"),
        ({"given_class": ["ten"] * 300}, "the class ten, and the data the class"),
        ({"is_label_issue": [True] * 300}, "flags all 300 examples"),
    ],
)
def test_files_that_are_refused(splits, tmp_path, changes, says):
    file = write_label_file(tmp_path / "issues.csv", splits.train, [0], 0, splits.class_names, **changes)
    with pytest.raises(UserError) as error:
        build(labels=file)
    assert says in str(error.value)
    assert file in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("fields", [{"seed": 1}, {"label_noise": {"kind": "none", "rate": 0.0}}])
def test_labels_of_other_data_are_refused(splits, tmp_path, fields):
    file = write_label_file(tmp_path / "issues.csv", splits.train, [0], 0)
    with pytest.raises(UserError, match=r"not of this training data: for row \d+ it has the label \d, and the data"):
        build(labels=file, **fields)


@pytest.mark.parametrize("suggested", [-1, 10])
def test_a_label_that_is_no_class_is_refused(splits, tmp_path, suggested):
    file = write_label_file(tmp_path / "issues.csv", splits.train, [5], suggested)
    with pytest.raises(UserError, match=rf"suggests the label {suggested} for row {splits.train.rows[5]}"):
        build(labels=file, clean="relabel")
    assert len(build(labels=file).train) == 299  # which does not need it


def test_there_is_no_file():
    with pytest.raises(UserError, match=r"there is no file nowhere\.csv"):
        build(labels="nowhere.csv")


def test_something_else_is_refused_in_one_line(tmp_path):
    for content in (b"", b"\x89PNG\r\n\x00\xff", b"row,given_label\n1,2,3\n", b'"'):
        (tmp_path / "issues.csv").write_bytes(content)
        with pytest.raises(UserError, match=r"dataset\.labels: ") as error:
            build(labels=str(tmp_path / "issues.csv"))
        assert len(str(error.value).splitlines()) == 1


def test_what_spreadsheets_make_of_it_is_read(splits, tmp_path):
    """Upper case, a byte order mark and Windows' line ends."""
    file = tmp_path / "issues.csv"
    write_label_file(file, splits.train, [5, 6], 0)
    text = file.read_text().replace("True", "TRUE").replace("False", "FALSE")
    file.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(text.splitlines()).encode())
    assert build(labels=str(file)).cleaning.changed == 2


def folder(root, **fields):
    more = {"train_examples": 0, "val_fraction": 0.0, "label_noise": {"kind": "none", "rate": 0.0}}
    return build(name="folder", feed="stream", path=str(root), image_size=16, **more, **fields)


def test_image_folders(tmp_path):
    root = image_folder.write(tmp_path / "images")
    train = folder(root).train
    paths = [path.decode() for path in train.paths]
    assert paths == [f"train/{name}/{i}.jpg" for name in image_folder.CLASSES for i in range(5)]
    assert all((root / path).is_file() for path in paths)
    file = write_label_file(tmp_path / "issues.csv", train, [4], suggested=2)
    cleaned = folder(root, labels=file)
    assert [path.decode() for path in cleaned.train.paths] == paths[:4] + paths[5:]
    assert cleaned.train.encoded.name(cleaned.train.rows[4]) == str(root / paths[5])
    relabelled = folder(root, labels=file, clean="relabel").train
    assert relabelled.labels.tolist() == [0, 0, 0, 0, 2, *[1] * 5, *[2] * 5]
    # Paths name the files of a folder of classes alone, too; and a file without paths fits any.
    assert folder(root / "train").train.paths[0] == b"n01/0.jpg"
    assert len(folder(root, labels=write_label_file(tmp_path / "b.csv", train, [4], 2, path=[""] * 15)).train) == 14


def test_a_folder_that_has_changed_is_noticed(tmp_path):
    """An image more in the same class moves the rows, but not the labels of most of them."""
    root = image_folder.write(tmp_path / "images")
    file = write_label_file(tmp_path / "issues.csv", folder(root).train, [1], 0)
    (root / "train" / "n03" / "00.jpg").write_bytes((root / "train" / "n03" / "0.jpg").read_bytes())
    with pytest.raises(UserError, match=r"row 11 it has the file train/n03/1\.jpg, and the data the file"):
        folder(root, labels=file)
