"""Image folders: which classes and images they are taken to hold, and what is refused."""

import image_folder
import numpy as np
import pytest

import datasets
from configs import base
from datasets import folders
from errors import UserError


def test_classes_stand_in_the_order_of_their_names(tmp_path):
    source = folders.load(str(image_folder.write(tmp_path)), 16)
    assert source.class_names == image_folder.CLASSES
    assert np.array_equal(source.train.labels, np.repeat([0, 1, 2], 5))
    assert np.array_equal(source.test.labels, np.repeat([0, 1, 2], 5))
    assert source.train.image_shape == (16, 16, 3)
    names = [source.train.encoded.name(row) for row in range(len(source.train))]
    assert names == [str(tmp_path / "train" / name / f"{i}.jpg") for name in image_folder.CLASSES for i in range(5)]
    assert source.train.encoded.read(7) == (tmp_path / "train" / "n02" / "2.jpg").read_bytes()


def test_a_folder_of_classes_alone_has_no_test_data(tmp_path):
    source = folders.load(str(image_folder.write(tmp_path) / "train"), 16)
    assert len(source.train) == 15
    assert source.test is None


def test_only_images_count(tmp_path):
    image_folder.write(tmp_path)
    for name in ("notes.txt", ".DS_Store", "._0.jpg"):
        (tmp_path / "train" / "n01" / name).write_text("nothing")
    (tmp_path / "train" / "n01" / "UPPER.JPEG").write_bytes(b"")
    assert len(folders.load(str(tmp_path), 16).train) == 16


def _empty_class(root):
    for image in (root / "train" / "n02").iterdir():
        image.unlink()


def _other_class(root):
    (root / "test" / "n03").rename(root / "test" / "n04")


def _flat(root):
    for name in image_folder.CLASSES:
        for image in (root / "test" / name).iterdir():
            image.rename(root / "test" / f"{name}-{image.name}")
        (root / "test" / name).rmdir()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_flat, r"test holds no directories; .*scripts/prepare/imagenet\.py sorts them"),
        (_empty_class, r"train/n02 holds no pictures"),
        (_other_class, r"test has 1 class\(es\) other than .*train \(n04\)"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, change, message):
    change(image_folder.write(tmp_path))
    with pytest.raises(UserError, match=message):
        folders.load(str(tmp_path), 16)


def test_missing_folders_are_named(tmp_path):
    with pytest.raises(UserError, match="there is no folder"):
        folders.load(str(tmp_path / "nowhere"), 16)
    with pytest.raises(UserError, match="holds no directories"):
        folders.load(str(tmp_path), 16)
    with pytest.raises(UserError, match=r"dataset\.path is not set"):
        folders.load(None, 16)


def write_tree(root, *files):
    """Empty files, which are pictures by their names."""
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return str(root)


def of_classes(split, *classes):
    return [f"{split}/{name}/{i}.jpg" for name in classes or ("cat", "dog") for i in range(2)]


def read(source):
    """How many pictures each split has."""
    return [0 if split is None else len(split) for split in (source.train, source.val, source.test)]


@pytest.mark.parametrize(
    ("splits", "test_split", "expected"),
    [
        (("train", "valid"), None, [4, 4, 0]),
        (("train", "val", "test"), None, [4, 4, 4]),
        (("Training", "Testing"), None, [4, 0, 4]),
        (("TRAIN", "dev", "eval"), None, [4, 4, 4]),
        (("train", "validation", "evaluation"), "validation", [4, 0, 4]),
        (("train", "val"), "Validation", [4, 0, 4]),  # as ImageNet's configs ask
        (("train",), "validation", [4, 0, 0]),
    ],
)
def test_splits_are_known_by_their_names(tmp_path, splits, test_split, expected):
    files = [file for split in splits for file in of_classes(split)]
    source = folders.load(write_tree(tmp_path, *files), 8, test_split)
    assert read(source) == expected
    assert source.class_names == ("cat", "dog")
    left_out = "1 × split that dataset.test_split does not name (such as evaluation)" if "evaluation" in splits else ""
    assert source.left_out == left_out


def test_pictures_lie_at_any_depth_below_their_class(tmp_path):
    files = ("cat/a.jpg", "cat/b.jfif", "cat/more/c.PPM", "cat/more/still/d.pgm", "dog/only/e.avif")
    root = write_tree(tmp_path, *files, "cat/.hidden.jpg", "dog/only/.cache/f.jpg")
    for name in ("cat/notes.txt", "list.csv"):
        (tmp_path / name).write_text("no")
    source = folders.load(root, 8)
    assert [source.train.encoded.name(row) for row in range(5)] == [str(tmp_path / name) for name in files]
    assert source.train.paths.tolist() == [name.encode() for name in files]
    assert source.train.labels.tolist() == [0, 0, 0, 0, 1]
    parts = ["1 × .txt (such as cat/notes.txt)", "2 × hidden (such as cat/.hidden.jpg)", "1 × outside the classes"]
    assert source.left_out == f"{', '.join(parts)} (such as {tmp_path.name}/list.csv)"


@pytest.mark.parametrize(
    ("files", "class_names", "left_out"),
    [
        (["cats/a.jpg", "train/b.jpg", "cars/c.jpg"], ("cars", "cats", "train"), ""),
        (["cats/a.jpg", "train/steam/b.jpg", "cars/c.jpg"], ("cars", "cats", "train"), ""),
        (["cats/a.jpg", "test/b.jpg"], ("cats", "test"), ""),
        (["cats/a.jpg", "test/tube/b.jpg"], ("cats", "test"), ""),
        ([*of_classes("train"), *of_classes("unlabelled")], ("cat", "dog"), "directory beside the splits"),
        ([*of_classes("train"), *of_classes("val"), "samples/a.jpg"], ("cat", "dog"), "directory beside the splits"),
    ],
)
def test_a_class_may_be_called_like_a_split(tmp_path, files, class_names, left_out):
    source = folders.load(write_tree(tmp_path, *files), 8)
    assert source.class_names == class_names
    assert left_out in source.left_out


@pytest.mark.parametrize(
    ("files", "test_split", "message"),
    [
        (
            of_classes("val") + of_classes("validation") + of_classes("train"),
            None,
            "val and validation, which both mean",
        ),
        (of_classes("test"), None, "holds test, but no directory of training data beside it"),
        ([*of_classes("test"), "cat/1.jpg", "dog/1.jpg"], None, "holds test, but no directory of training data"),
        (of_classes("train") + of_classes("test"), "validation", r"test_split is 'validation', but .* train, test"),
        (of_classes("train"), "half", r"test_split is 'half'; of a folder it must be one of val, "),
        (["train/1.jpg", "test/1.jpg"], None, "train holds no directories"),
        (["cat/1.jpg", "dog/1.eps"], None, r"dog holds no pictures; .* 1 × \.eps"),
    ],
)
def test_splits_that_are_not_clear_are_refused(tmp_path, files, test_split, message):
    with pytest.raises(UserError, match=message):
        folders.load(write_tree(tmp_path, *files), 8, test_split)


def test_one_class_is_nothing_to_learn(tmp_path):
    config = base.get_config().dataset
    config.update({"name": "folder", "path": write_tree(tmp_path, "cat/1.jpg"), "feed": "stream", "image_size": 8})
    with pytest.raises(UserError, match="all 1 training examples are of the class 'cat'"):
        datasets.build(config)
