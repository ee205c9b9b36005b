"""Image folders in memory: which pixels they become, and what happens to damaged pictures and too many of them."""

import numpy as np
import pytest
from PIL import Image

import datasets
from configs import base
from datasets import resized
from datasets.feeds import decoding
from errors import UserError

CLASSES = ("cat", "dog")


def write(folder, count=3, size=(48, 32), seed=0):
    """`folder/<class>/<i>.png`, RGB noise of this width and height; returns the pixels in the order of the rows."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (2 * count, size[1], size[0], 3), dtype=np.uint8)
    for i, image in enumerate(pixels):
        (folder / CLASSES[i // count]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / CLASSES[i // count] / f"{i % count}.png")
    return pixels


def configure(folder, **fields):
    config = base.get_config().dataset
    config.update({"name": "folder", "path": str(folder), "image_size": 16} | fields)
    return config


def test_each_pixel_is_the_mean_of_those_it_covers(tmp_path):
    pixels = write(tmp_path)
    splits = datasets.build(configure(tmp_path))
    means = pixels.reshape(6, 16, 2, 16, 3, 3).mean(axis=(2, 4))
    assert splits.train.images.shape == (6, 16, 16, 3)
    np.testing.assert_allclose(splits.train.images, means, atol=0.51)
    assert splits.class_names == CLASSES
    assert splits.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert splits.train.rows.tolist() == list(range(6))
    assert splits.train.paths.tolist() == [f"{name}/{i}.png".encode() for name in CLASSES for i in range(3)]
    assert (splits.test, splits.train.clean_labels) == (None, None)


def test_pictures_of_any_size_and_kind_become_rgb_squares(tmp_path):
    pixels = write(tmp_path)
    grey = pixels[0, :, :, 0]
    Image.fromarray(grey).save(tmp_path / "cat" / "0.png")
    Image.fromarray(np.full((8, 5), 77, np.uint8)).save(tmp_path / "cat" / "1.png")
    Image.fromarray(np.full((8, 200, 3), 99, np.uint8)).convert("RGBA").save(tmp_path / "dog" / "2.webp", lossless=True)
    (tmp_path / "dog" / "2.png").unlink()
    images = datasets.build(configure(tmp_path)).train.images
    means = grey.reshape(16, 2, 16, 3).mean(axis=(1, 3))[..., None]
    np.testing.assert_allclose(images[0], np.broadcast_to(means, (16, 16, 3)), atol=0.51)
    assert (images[1] == 77).all()
    assert (images[5] == 99).all()


def test_train_and_test_side_by_side(tmp_path):
    write(tmp_path / "train")
    write(tmp_path / "test", count=2, seed=1)
    splits = datasets.build(configure(tmp_path, val_fraction=0.34))
    assert (len(splits.train), len(splits.val), len(splits.test)) == (4, 2, 4)
    for split in (splits.train, splits.val):
        places = zip(split.labels, split.rows, strict=True)
        assert split.paths.tolist() == [f"train/{CLASSES[label]}/{row % 3}.png".encode() for label, row in places]
    assert np.array_equal(splits.test.clean_labels, splits.test.labels)


def test_pixels_come_from_the_cache_until_a_file_changes(tmp_path, monkeypatch):
    pixels = write(tmp_path)
    config, calls = configure(tmp_path), []
    first = datasets.build(config).train
    stretch = decoding.stretch_for_evaluation
    monkeypatch.setattr(decoding, "stretch_for_evaluation", lambda *arguments: calls.append(0) or stretch(*arguments))
    again = datasets.build(config).train
    assert not calls
    assert np.array_equal(again.images, first.images)
    Image.fromarray(255 - pixels[4]).save(tmp_path / "dog" / "1.png")
    changed = datasets.build(config).train
    assert len(calls) == 6
    np.testing.assert_allclose(changed.images[4], 255.0 - first.images[4], atol=1)


def test_damaged_pictures_are_named_or_left_out(tmp_path):
    whole = write(tmp_path)
    (tmp_path / "cat" / "1.png").write_bytes(b"")
    (tmp_path / "dog" / "2.png").write_bytes(b"GIF89a")
    message = r"cat/1\.png cannot be decoded \(the file is empty\), nor can 1 more; .*dataset\.stream\.damaged=skip"
    with pytest.raises(UserError, match=message):
        datasets.build(configure(tmp_path))
    train = datasets.build(configure(tmp_path, stream={"damaged": "skip"})).train
    assert train.rows.tolist() == [0, 2, 3, 4]
    assert train.labels.tolist() == [0, 0, 1, 1]
    assert train.paths.tolist() == [b"cat/0.png", b"cat/2.png", b"dog/0.png", b"dog/1.png"]
    assert train.skipped == {str(tmp_path / "cat" / "1.png"), str(tmp_path / "dog" / "2.png")}
    means = whole[[0, 2, 3, 4]].reshape(4, 16, 2, 16, 3, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(train.images, means, atol=0.51)
    with pytest.raises(UserError, match=r"cat/1\.png cannot be decoded"):  # also when they are in the cache
        datasets.build(configure(tmp_path))


def test_nothing_but_damaged_pictures_is_refused(tmp_path):
    write(tmp_path)
    for file in tmp_path.glob("*/*.png"):
        file.write_bytes(b"GIF89a")
    with pytest.raises(UserError, match="not one of the 6 pictures of 'train'"):
        datasets.build(configure(tmp_path, stream={"damaged": "skip"}))


def test_a_size_must_be_given(tmp_path):
    write(tmp_path)
    with pytest.raises(UserError, match=r"dataset\.image_size is None; .* squares of this side"):
        datasets.build(configure(tmp_path, image_size=None))


def test_what_does_not_fit_is_refused_before_it_is_read(tmp_path, monkeypatch):
    write(tmp_path)
    needed = 2 * 6 * 16 * 16 * 3
    monkeypatch.setattr(resized, "_decode", None)
    monkeypatch.setattr(resized, "find_free_memory", lambda: needed - 1)
    with pytest.raises(UserError, match=r"6 pictures of 16 × 16 pixels need 0\.0 GB .* smaller dataset\.image_size"):
        datasets.build(configure(tmp_path))
    monkeypatch.setattr(resized, "find_free_memory", lambda: needed)
    with pytest.raises(TypeError, match="not callable"):  # now it is read
        datasets.build(configure(tmp_path))


def test_grey_pictures_of_16_bits_differ_as_those_of_8_do(tmp_path):
    """Two classes with the means 12,000 and 40,000; Pillow's own conversion makes both white."""
    rng = np.random.default_rng(0)
    for name, mean in zip(CLASSES, (12_000, 40_000), strict=True):
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.fromarray(rng.normal(mean, 500, (16, 16)).astype(np.uint16)).save(tmp_path / name / f"{i}.png")
    images = datasets.build(configure(tmp_path)).train.images
    np.testing.assert_allclose(images.mean(axis=(1, 2, 3)), np.repeat([12_000, 40_000], 3) / 257, atol=1)


@pytest.mark.parametrize("feed", ["resident", "stream"])
def test_validation_and_test_data_are_what_their_folders_say(tmp_path, feed):
    for split, count in (("Training", 4), ("VALID", 3), ("test", 2)):
        write(tmp_path / split, count=count, seed=count)
    splits = datasets.build(configure(tmp_path, feed=feed))
    assert (len(splits.train), len(splits.val), len(splits.test)) == (8, 6, 4)
    assert splits.val.paths.tolist() == [f"VALID/{name}/{i}.png".encode() for name in CLASSES for i in range(3)]
    assert not set(splits.train.rows) & set(splits.val.rows)
    assert (splits.val.clean_labels, splits.test.clean_labels.tolist()) == (None, [0, 0, 1, 1])
    assert splits.describe() == [
        "data: training 8 images of 2 classes, validation 6 images of 2 classes, test 4 images of 2 classes"
    ]
    with pytest.raises(UserError, match=r"dataset\.val_fraction is 0\.5, but .* has validation data of its own"):
        datasets.build(configure(tmp_path, feed=feed, val_fraction=0.5))
    noisy = datasets.build(configure(tmp_path, feed=feed, label_noise={"kind": "symmetric", "rate": 0.5})).val
    assert (noisy.labels != noisy.clean_labels).sum() == 3  # the rules that validate know no better labels
    if feed == "resident":
        pixels = datasets.build(configure(tmp_path / "VALID")).train.images
        assert np.array_equal(splits.val.images, pixels)
