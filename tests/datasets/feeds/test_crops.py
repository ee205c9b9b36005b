"""The geometry and the pixels of crops, in training and in evaluation, held to Pillow, TensorFlow and distributions."""

import io

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from photographs import encoded, read_samples
from PIL import Image

from datasets.feeds import decoding
from datasets.feeds.decoding import (
    crop_for_evaluation,
    crop_for_training,
    decode,
    draw_window,
    stretch_for_evaluation,
)

PHOTOGRAPH = read_samples()[0]  # 640 x 427
RNG = np.random.default_rng(0)


@settings(max_examples=60)
@given(
    height=st.integers(1, 3000), width=st.integers(1, 3000), least_area=st.floats(0.01, 1), seed=st.integers(0, 2**32)
)
def test_windows_lie_within_the_image(height, width, least_area, seed):
    draws = np.random.default_rng(seed).random((10, 4))
    top, left, rows, columns = draw_window(height, width, least_area, draws)
    assert 0 <= top <= top + rows <= height
    assert 0 <= left <= left + columns <= width
    assert min(rows, columns) >= 1
    rounding = 1 + 1 / min(rows, columns)
    if min(height, width) > 1:
        assert 3 / 4 / rounding <= columns / rows <= 4 / 3 * rounding
    if (top, left) != ((height - rows) // 2, (width - columns) // 2):  # not the fallback
        assert rows * columns >= least_area * height * width / rounding**2


def test_windows_follow_their_distribution():
    draws = np.random.default_rng(0).random((4000, 1, 4))
    windows = np.array([draw_window(3000, 3100, 0.05, one) for one in draws])
    fallback = windows[:, 2] == 3000
    top, left, height, width = windows[~fallback].T
    # Of windows of one area below 3/4 · 3000² all ratios fit, so there area and ratio are uniform.
    area = height * width / (3000 * 3100)
    ratio = np.log(width / height) / np.log(4 / 3)
    free = area < 0.7
    for values, low, high in (
        (area[free], 0.05, 0.7),
        (ratio[free], -1, 1),
        (top / (3001 - height), 0, 1),
        (left / (3101 - width), 0, 1),
    ):
        counts, _ = np.histogram(np.clip(values, low, high), 10, (low, high))  # whole pixels lie a little outside
        assert (np.abs(counts - counts.mean()) < 5 * np.sqrt(counts.mean())).all()


@pytest.mark.parametrize("shape", [(100, 1000), (1000, 100), (86, 64), (1, 50), (50, 1)])
def test_without_a_fitting_try_the_window_is_central_and_as_large_as_can_be(shape):
    height, width = shape
    none_fits = np.tile([0.999, 0.5, 0.0, 0.0], (10, 1))
    top, left, rows, columns = draw_window(height, width, 0.99, none_fits)
    assert abs(2 * top + rows - height) <= 1
    assert abs(2 * left + columns - width) <= 1
    assert rows == height or columns == width


@settings(max_examples=60)
@given(
    height=st.integers(1, 3000), width=st.integers(1, 3000), least_area=st.floats(0.01, 1), seed=st.integers(0, 2**32)
)
def test_tensorflows_windows_lie_within_the_image(height, width, least_area, seed):
    draws = np.random.default_rng(seed).random((100, 4))
    top, left, rows, columns = draw_window(height, width, least_area, draws, like_tensorflow=True)
    assert 0 <= top <= top + rows <= height
    assert 0 <= left <= left + columns <= width
    assert rows * columns >= least_area * height * width
    if (rows, columns) != (height, width):
        assert abs(columns / rows - 1.04) <= 0.29 + 0.5 / rows  # 0.75 to 1.33, before the width was rounded
        assert top + rows < height or rows == height  # never the last row or column of a larger image
        assert left + columns < width or columns == width


def test_tensorflows_heights_are_uniform():
    draws = np.random.default_rng(0).random((20_000, 1, 4))
    top, left, height, width = np.array(
        [draw_window(10_000, 10_000, 0.05, one, like_tensorflow=True) for one in draws]
    ).T
    ratio = width / height
    lowest, highest = np.sqrt(0.05 / ratio), np.minimum(1, 1 / ratio)  # shares of the side
    for values, low, high in (
        ((height / 10_000 - lowest) / (highest - lowest), 0, 1),
        (ratio, 0.75, 1.33),
        ((top + 0.5) / (10_000 - height + 1), 0, 1),
        ((left + 0.5) / (10_000 - width + 1), 0, 1),
    ):
        counts, _ = np.histogram(np.clip(values, low, high), 10, (low, high))  # whole pixels lie a little outside
        assert (np.abs(counts - counts.mean()) < 5 * np.sqrt(counts.mean())).all()


def test_windows_are_those_of_tensorflow():
    """Shares in 100,000 windows of TensorFlow 2.21's `sample_distorted_bounding_box` in an image of 500 × 375."""
    draws = np.random.default_rng(1).random((20_000, 100, 4))
    _, _, height, width = np.array([draw_window(500, 375, 0.05, one, like_tensorflow=True) for one in draws]).T
    area = height * width / (500 * 375)
    shares = {0.399: height <= 200, 0.771: height <= 300, 0.355: area < 0.2, 0.0225: area > 0.8}
    for share, found in shares.items():
        assert found.mean() == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) * (1 / 20_000 + 1 / 100_000)))
    assert area.mean() == pytest.approx(0.3287, abs=4 * 0.211 * np.sqrt(1 / 20_000 + 1 / 100_000))


def test_an_image_too_long_for_tensorflows_ratios_is_taken_whole():
    draws = np.random.default_rng(2).random((100, 4))
    assert draw_window(30, 1000, 0.05, draws, like_tensorflow=True) == (0, 0, 30, 1000)


@pytest.mark.parametrize(("kind", "side"), [("PNG", 640), ("JPEG", 640), ("JPEG", 2000)])
def test_crops_like_tensorflows_are_interpolated_from_the_full_image(kind, side):
    """Between the four pixels around each place, at full size and whatever lies between those places; rounded down."""
    data = encoded(PHOTOGRAPH.resize((side, side * 2 // 3)), kind)
    image = decode(data).astype(np.float64)
    for seed in range(4):
        draws = np.random.default_rng(seed).random((100, 4))
        top, left, height, width = draw_window(*image.shape[:2], 0.05, draws, like_tensorflow=True)
        y, x = ((np.arange(96) + 0.5) * length / 96 - 0.5 for length in (height, width))
        part = np.moveaxis(image[top : top + height, left : left + width], -1, 0)
        places = np.meshgrid(y, x, indexing="ij")
        exact = [scipy.ndimage.map_coordinates(plane, places, order=1, mode="nearest") for plane in part]
        crop = crop_for_training(data, 96, 0.05, np.random.default_rng(seed), like_tensorflow=True)
        assert crop.dtype == np.uint8
        expected = np.floor(np.moveaxis(np.array(exact), 0, -1) + 1e-6)
        assert np.abs(crop - expected).max() <= 1
        assert np.mean(crop != expected) < 0.01  # where the exact value is all but whole


@pytest.mark.parametrize("side", [86, 640, 1500, 3000])
def test_training_crops_are_those_of_the_full_image(side):
    """Read in part and at 1/r of the size or not, a crop is near to Pillow's whose edges are multiples of r."""
    data = encoded(PHOTOGRAPH.resize((side, side * 2 // 3), Image.Resampling.BICUBIC), quality=95)
    image = Image.open(io.BytesIO(data)).convert("RGB")
    for seed in range(12):
        draws = np.random.default_rng(seed).random((10, 4))
        top, left, height, width = draw_window(image.height, image.width, 0.05, draws)
        r = decoding._choose_reduction(min(height, width), 96)
        box = [round(edge / r) * r for edge in (left, top, left + width, top + height)]
        box[2:] = min(box[2], image.width), min(box[3], image.height)
        reference = np.asarray(image.resize((96, 96), Image.Resampling.BILINEAR, box)).astype(float)
        crop = crop_for_training(data, 96, 0.05, np.random.default_rng(seed))
        elsewhere = np.roll(reference, 1, axis=1)
        assert np.abs(crop - reference).mean() < 3.5
        assert np.abs(crop - reference).mean() < 0.6 * np.abs(crop - elsewhere).mean(), "shifted by a pixel"


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("size", [(86, 60), (300, 400), (640, 427), (1400, 933)])
def test_evaluation_crop_is_pillows_resize_and_centre(kind, size):
    data = encoded(PHOTOGRAPH.resize(size, Image.Resampling.BICUBIC), kind)
    image = Image.open(io.BytesIO(data)).convert("RGB")
    width, height = (side * 256 // min(size) for side in size)
    left, top = (width - 224) // 2, (height - 224) // 2
    resized = image.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + 224, top + 224))
    reference = np.asarray(resized).astype(float)
    crop = crop_for_evaluation(data, 256, 224)
    # A pixel off in either direction gives several times the difference of the two antialiasing filters.
    assert np.abs(crop - reference).mean() < 2.5
    for axis in (0, 1):
        assert np.abs(crop - reference).mean() < 0.6 * np.abs(crop - np.roll(reference, 1, axis)).mean()


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("mode_of_file", ["RGB", "L"])
def test_stretching_takes_the_whole_image_in_the_channels_of_the_set(kind, mode_of_file):
    """At its own size the pixels are Pillow's; of a larger image, each new pixel is the mean of those it covers."""
    data = encoded(PHOTOGRAPH.resize((150, 101)).convert(mode_of_file), kind)
    pixels = Image.open(io.BytesIO(data))
    for mode, channels in (("RGB", 3), ("L", 1)):
        whole = np.asarray(pixels.convert("RGB").convert(mode)).reshape(101, 150, channels)
        np.testing.assert_array_equal(stretch_for_evaluation(data, (101, 150, channels)), whole)
    large = encoded(Image.fromarray(np.repeat(np.repeat(whole[..., 0], 3, axis=0), 2, axis=1)), "PNG")
    np.testing.assert_array_equal(stretch_for_evaluation(large, (101, 150, 1)), whole)
    assert stretch_for_evaluation(data, (202, 50, 3)).shape == (202, 50, 3)


def test_a_large_photograph_is_stretched_alike_at_a_fraction_of_its_size():
    """Against Pillow, which decodes all of it and takes means over areas."""
    large = PHOTOGRAPH.resize((1280, 1280), Image.Resampling.LANCZOS)
    data = encoded(large, quality=95)
    for side in (160, 80, 40):  # decoded at 1/2, 1/4 and 1/8
        whole = Image.open(io.BytesIO(data)).reduce(1280 // side)
        difference = stretch_for_evaluation(data, (side, side, 3)).astype(float) - np.asarray(whole)
        assert np.abs(difference).mean() < 1
        assert np.abs(difference).max() < 10


def test_a_side_that_shrinks_is_averaged_while_the_other_grows():
    stripes = np.zeros((4, 120, 3), np.uint8)
    stripes[:, ::2] = 200
    stretched = stretch_for_evaluation(encoded(Image.fromarray(stripes), "PNG"), (8, 10, 3))
    assert stretched.shape == (8, 10, 3)
    assert (stretched == 100).all()
