"""Corrupted test sets: the generated ones, and the benchmark's files as small copies of their layout."""

import cv2
import numpy as np
import pytest
from photographs import photographs

from datasets import corrupted
from datasets.corruptions import corrupt_images
from datasets.examples import Examples
from errors import UserError


def cifar_c(directory, count=4, **arrays):
    """Writes `fog` in the layout of CIFAR-10-C: every pixel of an image is 10 · severity + its row."""
    values = np.concatenate([10 * severity + np.arange(count) for severity in range(1, 6)])
    images = np.broadcast_to(values[:, None, None, None], (5 * count, 32, 32, 3)).astype(np.uint8)
    arrays = {"fog": images, "labels": np.tile(np.arange(count) % 3, 5).astype(np.uint8)} | arrays
    for name, array in arrays.items():
        np.save(directory / f"{name}.npy", array)
    return directory


def imagenet_c(directory, layout="weather/fog"):
    """Writes severities 1 and 2 of fog: two classes with one and two images of 40 pixels."""
    for severity in (1, 2):
        for number, file in enumerate(("n02/a", "n01/b", "n01/c")):
            path = directory / layout / str(severity) / f"{file}.JPEG"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.full((40, 40, 3), (200, 100, 50 * severity + number), np.uint8))  # BGR
    return directory


def test_generated_depends_on_the_row_in_the_source():
    images = photographs(32)
    examples = Examples.of(images, np.arange(len(images)), None)
    part = examples.take(np.array([5, 2, 9]))
    test_set = corrupted.Generated(part, seed=3)
    assert np.array_equal(test_set.labels, [5, 2, 9])
    assert (test_set.source, test_set.frost) == ("generated", "generated")
    whole = corrupt_images(images, "snow", 2, seed=3)
    assert np.array_equal(test_set.read("snow", 2, np.array([2, 0])), whole[[9, 5]])


def test_generated_needs_colour():
    with pytest.raises(UserError, match="RGB"):
        corrupted.Generated(Examples.of(np.zeros((2, 32, 32, 1), np.uint8), np.zeros(2), None))


def test_cifar_files_are_severity_major(tmp_path):
    test_set = corrupted.official(cifar_c(tmp_path))
    assert (test_set.source, test_set.frost) == ("official", "official")
    assert np.array_equal(test_set.labels, [0, 1, 2, 0])
    for severity in (1, 3, 5):
        images = test_set.read("fog", severity, np.array([3, 1]))
        assert images.shape == (2, 32, 32, 3)
        assert np.array_equal(images[:, 0, 0, 0], [10 * severity + 3, 10 * severity + 1])


@pytest.mark.parametrize("layout", ["weather/fog", "fog"])
def test_imagenet_classes_are_sorted_wnids(tmp_path, layout):
    test_set = corrupted.official(imagenet_c(tmp_path, layout))
    assert test_set.class_names == ("n01", "n02")
    assert np.array_equal(test_set.labels, [0, 0, 1])
    images = test_set.read("fog", 2, np.array([2, 0]))
    assert images.shape == (2, 40, 40, 3)
    np.testing.assert_allclose(images[:, 20, 20], [[100, 100, 200], [101, 100, 200]], atol=3)  # RGB, through JPEG


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
        corrupted.official(tmp_path).read(name, 1, np.arange(4))
    assert len(str(error.value).splitlines()) == 1


def test_wrong_folders_are_one_line(tmp_path):
    with pytest.raises(UserError, match="there is no folder"):
        corrupted.official(tmp_path / "nowhere")
    with pytest.raises(UserError, match="neither CIFAR-10-C"):
        corrupted.official(tmp_path)
    (tmp_path / "fog.npy").write_bytes(b"not an array")
    with pytest.raises(UserError, match=r"there is no file .*labels\.npy"):
        corrupted.official(tmp_path)
    (tmp_path / "labels.npy").write_bytes(b"not an array")
    with pytest.raises(UserError, match=r"not an \.npy file"):
        corrupted.official(tmp_path)


def test_wrong_imagenet_folders_are_one_line(tmp_path):
    (tmp_path / "fog" / "1").mkdir(parents=True)
    with pytest.raises(UserError, match="holds no images"):
        corrupted.official(tmp_path)
    test_set = corrupted.official(imagenet_c(tmp_path, "fog"))
    with pytest.raises(UserError, match=r"there is no image .*fog/3/n01/b.JPEG"):
        test_set.read("fog", 3, np.arange(3))
    cv2.imwrite(str(tmp_path / "fog" / "2" / "n01" / "c.JPEG"), np.zeros((41, 40, 3), np.uint8))
    with pytest.raises(UserError, match=r"c\.JPEG is \(41, 40, 3\); the first image is \(40, 40, 3\)"):
        test_set.read("fog", 2, np.arange(3))
