"""Image folders: which classes and images they are taken to hold, and what is refused."""

import image_folder
import numpy as np
import pytest

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
