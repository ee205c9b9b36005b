"""The corruptions against other implementations of their definitions, and what all of them have in common."""

import io

import numpy as np
import PIL.Image
import pytest
from photographs import photographs
from scipy import ndimage
from skimage import color, filters

from errors import UserError
from evaluation.corruptions import CORRUPTIONS, GROUPS, SEVERITIES, blur
from evaluation.corruptions.corrupt import DEFINITIONS, corrupt_images

SIDES = (32, 224)
every_corruption = pytest.mark.parametrize("name", CORRUPTIONS)
every_size = pytest.mark.parametrize("side", SIDES)
every_severity = pytest.mark.parametrize("severity", SEVERITIES)


def parameters(name, side, severity):
    corruption = DEFINITIONS[name]
    return (corruption.small if side == 32 else corruption.large)[severity - 1]


def assert_truncated(actual, pixels):
    """Levels are those of `pixels` in [0, 1], truncated; what lies within 0.002 of a level may fall to either side."""
    exact = np.clip(np.asarray(pixels) * 255, 0, 255)
    assert np.all(np.floor(exact - 0.002) <= actual)
    assert np.all(actual <= np.floor(exact + 0.002))


def test_the_benchmark_has_fifteen_in_four_groups_and_four_held_out():
    groups = list(CORRUPTIONS.values())
    assert [groups.count(group) for group in (*GROUPS, "extra")] == [3, 4, 4, 4, 4]
    assert list(DEFINITIONS) == list(CORRUPTIONS)
    for corruption in DEFINITIONS.values():
        assert len(corruption.small) == len(corruption.large) == 5


@every_size
@every_corruption
def test_draws_depend_on_seed_name_severity_and_row_alone(name, side):
    images = photographs(side)
    whole = corrupt_images(images, name, 3, seed=7)
    assert whole.dtype == np.uint8
    assert whole.shape == images.shape
    rows = np.array([1, 0])
    assert np.array_equal(corrupt_images(images[rows], name, 3, seed=7, rows=rows), whole[rows])
    assert np.array_equal(corrupt_images(images[1:2], name, 3, seed=7, rows=rows[:1]), whole[1:2])


RANDOM = (
    *("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "glass_blur", "motion_blur", "snow", "frost"),
    *("fog", "elastic_transform", "spatter"),
)


@every_corruption
def test_what_is_random_differs_by_seed_and_row_and_nothing_else_does(name):
    twice = np.repeat(photographs(32)[:1], 2, axis=0)
    corrupted, other = corrupt_images(twice, name, 5, seed=1), corrupt_images(twice, name, 5, seed=2)
    assert np.array_equal(corrupted[0], corrupted[1]) == (name not in RANDOM)
    assert np.array_equal(corrupted, other) == (name not in RANDOM)


# Where published parameters do not go one way: glass_blur trades the smoothing for a second round, motion_blur's radius
# grows at severity 4 without sigma; elastic_transform's affine part shrinks as the distortion roughens; frost and fog
# pull towards a level of their own, whatever the image's; saturate takes away first and adds later; spatter turns from
# water to mud; snow's threshold rises where its mean does.
NOT_MONOTONE = {
    32: {"glass_blur", "motion_blur", "elastic_transform", "frost", "spatter", "saturate"},
    224: {"glass_blur", "snow", "elastic_transform", "frost", "fog", "saturate"},
}


@every_size
@every_corruption
def test_severity_grows(name, side):
    images = photographs(side)
    distances = [np.abs(corrupt_images(images, name, s).astype(float) - images).mean() for s in SEVERITIES]
    assert min(distances) > 0.1
    if name not in NOT_MONOTONE[side]:
        assert distances == sorted(distances)


@every_size
@every_severity
def test_brightness_is_skimage_hsv(side, severity):
    images = photographs(side)
    hsv = color.rgb2hsv(images / 255.0)
    hsv[..., 2] = np.clip(hsv[..., 2] + parameters("brightness", side, severity)[0], 0, 1)
    assert_truncated(corrupt_images(images, "brightness", severity), color.hsv2rgb(hsv))


@every_size
@every_severity
def test_saturate_is_skimage_hsv(side, severity):
    images = photographs(side).copy()
    images[0, 0, :8] = np.arange(0, 240, 30)[:, None]  # greys, black among them
    factor, addition = parameters("saturate", side, severity)
    hsv = color.rgb2hsv(images / 255.0)
    hsv[..., 1] = np.clip(hsv[..., 1] * factor + addition, 0, 1)
    assert_truncated(corrupt_images(images, "saturate", severity), color.hsv2rgb(hsv))


@every_size
@every_severity
def test_contrast_is_about_the_channel_mean(side, severity):
    images = photographs(side)
    (factor,) = parameters("contrast", side, severity)
    expected = [
        [np.mean(image[..., c] / 255) * (1 - factor) + image[..., c] / 255 * factor for c in range(3)]
        for image in images
    ]
    assert_truncated(corrupt_images(images, "contrast", severity), np.moveaxis(expected, 1, -1))


@every_size
@every_severity
def test_gaussian_blur_is_skimages(side, severity):
    images = photographs(side)
    (sigma,) = parameters("gaussian_blur", side, severity)
    expected = [filters.gaussian(image / 255.0, sigma=sigma, channel_axis=-1) for image in images]
    assert_truncated(corrupt_images(images, "gaussian_blur", severity), np.stack(expected))


@every_size
@every_severity
def test_defocus_is_a_smoothed_disk(side, severity):
    images = photographs(side)
    radius, smoothing = parameters("defocus_blur", side, severity)
    reach, half = (10, 2) if radius == 10 else (8, 1)
    disk = np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1]) <= radius
    line = np.exp(-(np.arange(-half, half + 1) ** 2) / (2 * smoothing**2))
    kernel = ndimage.convolve(disk / disk.sum(), np.outer(line, line) / line.sum() ** 2, mode="mirror")
    expected = ndimage.convolve(images / 255.0, kernel[None, :, :, None], mode="mirror")
    assert_truncated(corrupt_images(images, "defocus_blur", severity), expected)


@every_size
@every_severity
def test_zoom_is_a_mean_of_scipy_zooms(side, severity):
    images = photographs(side)[:2]
    factors = np.arange(1, *parameters("zoom_blur", side, severity))
    expected = images / 255.0
    for factor in factors:
        kept = int(np.ceil(side / factor))
        start = (side - kept) // 2
        middle = images[:, start : start + kept, start : start + kept] / 255.0
        larger = ndimage.zoom(middle, (1, factor, factor, 1), order=1)
        trim = (larger.shape[1] - side) // 2
        expected = expected + larger[:, trim : trim + side, trim : trim + side]
    actual = corrupt_images(images, "zoom_blur", severity)
    assert_truncated(actual, expected / (len(factors) + 1))


@every_size
@every_severity
def test_pixelate_is_pillows_box(side, severity):
    images = photographs(side)
    small = int(side * parameters("pixelate", side, severity)[0])
    box = PIL.Image.Resampling.BOX
    expected = [
        np.asarray(PIL.Image.fromarray(image).resize((small, small), box).resize((side, side), box)) for image in images
    ]
    assert np.array_equal(corrupt_images(images, "pixelate", severity), np.stack(expected))


@every_size
@every_severity
def test_jpeg_is_pillows(side, severity):
    images = photographs(side)
    (quality,) = parameters("jpeg_compression", side, severity)
    corrupted = corrupt_images(images, "jpeg_compression", severity)
    for image, actual in zip(images, corrupted, strict=True):
        file = io.BytesIO()
        PIL.Image.fromarray(image).save(file, "JPEG", quality=quality)
        assert np.array_equal(actual, np.asarray(PIL.Image.open(file)))


@pytest.mark.parametrize("side", [32, 48])
@pytest.mark.parametrize(("reach", "repeats"), [(1, 2), (2, 3), (4, 2)])
def test_glass_copies_pixel_after_pixel(side, reach, repeats):
    images = np.random.default_rng(0).integers(0, 256, (3, side, side, 3), dtype=np.uint8)
    actual = blur.glass_blur(images, map(np.random.default_rng, range(3)), 0, reach, repeats)
    for number, image in enumerate(images):
        inside = range(reach + 1, side - reach + 1)
        offsets = np.random.default_rng(number).integers(-reach, reach, (repeats, 2, len(inside), len(inside)))
        expected = image.copy()
        for down, right in offsets:
            for y in reversed(inside):
                for x in reversed(inside):
                    place = y - inside[0], x - inside[0]
                    expected[y, x] = expected[y + down[place], x + right[place]]
        np.testing.assert_allclose(actual[number].astype(int), expected, atol=2)  # it is truncated twice on the way


def test_streak_of_a_point_is_half_a_bell_against_the_direction():
    """What is collected from the right appears on the left."""
    image = np.zeros((32, 32), np.uint8)
    image[16, 16] = 255
    weights = np.exp(-(np.arange(13) ** 2) / (2 * 2.0**2))
    expected = np.round(255 * weights / weights.sum())
    assert np.array_equal(blur.streak(image, 6, 2.0, 0.0)[16, 16:3:-1], expected)
    assert np.array_equal(blur.streak(image, 6, 2.0, 90.0)[16:3:-1, 16], expected)
    assert np.array_equal(blur.streak(image, 6, 2.0, -90.0)[16:29, 16], expected)
    assert blur.streak(image, 6, 2.0, 45.0)[16, 16] == expected[0]
    assert not np.triu(blur.streak(image, 6, 2.0, 45.0), 1).any()


def test_streak_keeps_a_constant_up_to_the_edge():
    image = np.full((32, 32, 3), 77, np.uint8)
    assert np.array_equal(blur.streak(image, 9, 2.5, 33.0), image)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "rain"}, "no corruption 'rain'; there are gaussian_noise"),
        ({"severity": 0}, "no severity 0"),
        ({"severity": 6}, "no severity 6"),
        ({"images": np.zeros((2, 32, 32, 3))}, "float64"),
        ({"images": np.zeros((2, 32, 32, 1), np.uint8)}, "RGB"),
        ({"images": np.zeros((2, 28, 28, 3), np.uint8)}, "at least 32"),
        ({"images": np.zeros((2, 32, 40, 3), np.uint8)}, "side, side"),
    ],
)
def test_mistakes_are_one_line(arguments, message):
    arguments = {"images": np.zeros((2, 32, 32, 3), np.uint8), "name": "fog", "severity": 1} | arguments
    with pytest.raises(UserError, match=message) as error:
        corrupt_images(**arguments)
    assert len(str(error.value).splitlines()) == 1
