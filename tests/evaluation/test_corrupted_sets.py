"""Corrupted test sets: generated ones, and small copies of the benchmark's files."""

import cv2
import numpy as np
import pytest
from photographs import photographs

from datasets.examples import Examples
from datasets.feeds.decoding import decode
from errors import UserError
from evaluation import corrupted_sets
from evaluation.corruptions.corrupt import corrupt_images


def cifar_c(directory, count=4, **arrays):
    """Writes `fog` in the layout of CIFAR-10-C: every pixel of an image is 10 · severity + its row."""
    values = np.concatenate([10 * severity + np.arange(count) for severity in range(1, 6)])
    images = np.broadcast_to(values[:, None, None, None], (5 * count, 32, 32, 3)).astype(np.uint8)
    arrays = {"fog": images, "labels": np.tile(np.arange(count) % 3, 5).astype(np.uint8)} | arrays
    for name, array in arrays.items():
        np.save(directory / f"{name}.npy", array)
    return directory


def imagenet_c(directory, layout="weather/fog"):
    """Writes severities 1 and 2 of fog: two classes with one and two images."""
    for severity in (1, 2):
        for number, file in enumerate(("n02/a", "n01/b", "n01/c")):
            path = directory / layout / str(severity) / f"{file}.JPEG"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.full((224, 224, 3), (200, 100, 50 * severity + number), np.uint8))  # BGR
    return directory


def open_files(directory, class_names=("n01", "n02"), some_classes=False):
    return corrupted_sets.open_files(directory, class_names, some_classes)


def test_generated_depends_on_the_row_in_the_source():
    images = photographs(32)
    examples = Examples.of(images, np.arange(len(images)), None)
    part = examples.take(np.array([5, 2, 9]))
    test_set = corrupted_sets.GeneratedImages(part, seed=3)
    assert np.array_equal(test_set.labels, [5, 2, 9])
    assert test_set.source == "generated"
    whole = corrupt_images(images, "snow", 2, seed=3)
    read = test_set.read("snow", 2, np.array([2, 0]))
    assert np.array_equal(read.images, whole[[9, 5]])
    assert np.array_equal(read.labels, [9, 5])


def test_generated_needs_colour():
    with pytest.raises(UserError, match="RGB"):
        corrupted_sets.GeneratedImages(Examples.of(np.zeros((2, 32, 32, 1), np.uint8), np.zeros(2, int), None))


def test_cifar_files_are_severity_major(tmp_path):
    test_set = open_files(cifar_c(tmp_path))
    assert test_set.source == "official"
    assert np.array_equal(test_set.labels, [0, 1, 2, 0])
    for severity in (1, 3, 5):
        read = test_set.read("fog", severity, np.array([3, 1]))
        images = read.images
        assert np.array_equal(read.labels, [0, 1])
        assert images.shape == (2, 32, 32, 3)
        assert np.array_equal(images[:, 0, 0, 0], [10 * severity + 3, 10 * severity + 1])


@pytest.mark.parametrize("layout", ["weather/fog", "fog"])
def test_imagenet_classes_are_the_runs(tmp_path, layout):
    """In the run's order; a run of some classes leaves the others out."""
    test_set = open_files(imagenet_c(tmp_path, layout), ("n02", "n01"))
    assert np.array_equal(test_set.labels, [1, 1, 0])
    read = test_set.read("fog", 2, np.array([2, 0]))
    assert np.array_equal(read.labels, [0, 1])
    colours = [decode(read.encoded.read(row))[112, 112] for row in read.rows]
    np.testing.assert_allclose(colours, [[100, 100, 200], [101, 100, 200]], atol=3)  # RGB, through JPEG
    part = open_files(tmp_path, ("n03", "n02"), some_classes=True)
    assert np.array_equal(part.labels, [1])
    with pytest.raises(UserError, match=r"n01 is no class of the run, whose classes are n03, n02"):
        open_files(tmp_path, ("n03", "n02"))


@pytest.mark.parametrize(
    ("arrays", "name", "message"),
    [
        ({}, "snow", "there is no file .*snow.npy"),
        ({}, "rain", "no corruption 'rain'"),
        ({"fog": np.zeros((19, 32, 32, 3), np.uint8)}, "fog", r"fog.npy holds uint8 \(19, 32, 32, 3\); it must hold"),
        ({"fog": np.zeros((20, 32, 32, 3))}, "fog", "holds float64"),
        ({"labels": np.zeros(19, int)}, "fog", "five times N integers"),
        ({"labels": np.arange(20)}, "fog", "severities differ"),
        ({"labels": np.zeros(20)}, "fog", "holds float64"),
    ],
)
def test_wrong_cifar_files_are_one_line(tmp_path, arrays, name, message):
    cifar_c(tmp_path, **arrays)
    with pytest.raises(UserError, match=message) as error:
        open_files(tmp_path).read(name, 1, np.arange(4))
    assert len(str(error.value).splitlines()) == 1


def test_wrong_folders_are_one_line(tmp_path):
    with pytest.raises(UserError, match="neither CIFAR-10-C"):
        open_files(tmp_path)
    (tmp_path / "fog.npy").write_bytes(b"not an array")
    with pytest.raises(UserError, match=r"there is no file .*labels\.npy"):
        open_files(tmp_path)
    (tmp_path / "labels.npy").write_bytes(b"not an array")
    with pytest.raises(UserError, match=r"not an \.npy file"):
        open_files(tmp_path)


def test_wrong_imagenet_folders_are_one_line(tmp_path):
    (tmp_path / "fog" / "1").mkdir(parents=True)
    with pytest.raises(UserError, match="fog/1 holds no folders of the run's classes"):
        open_files(tmp_path)
    test_set = open_files(imagenet_c(tmp_path, "fog"))
    with pytest.raises(UserError, match=r"there is no image .*fog/3/n01/b.JPEG"):
        test_set.read("fog", 3, np.arange(3))
    first = tmp_path / "fog" / "1" / "n01" / "b.JPEG"
    cv2.imwrite(str(first), np.zeros((41, 40, 3), np.uint8))
    with pytest.raises(UserError, match=r"b\.JPEG is \(41, 40, 3\); images of ImageNet-C are \(224, 224, 3\)"):
        open_files(tmp_path)
    first.write_bytes(b"")
    with pytest.raises(UserError, match=r"b\.JPEG cannot be decoded \(the file is empty\)"):
        open_files(tmp_path)
