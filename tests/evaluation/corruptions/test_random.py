"""Corruptions that draw: their moments over constant images, and the invariants of their definitions."""

import cv2
import numpy as np
import pytest
from photographs import photographs

from evaluation.corruptions import SEVERITIES, digital, frost_texture, weather
from evaluation.corruptions.corrupt import DEFINITIONS, corrupt_images

every_severity = pytest.mark.parametrize("severity", SEVERITIES)
every_size = pytest.mark.parametrize("side", [32, 224])


def constant(level, side, values=400_000):
    return np.full((max(2, values // (side * side * 3)), side, side, 3), level, np.uint8)


def parameters(name, side, severity):
    corruption = DEFINITIONS[name]
    return (corruption.small if side == 32 else corruption.large)[severity - 1]


def corrupted_constant(name, severity, side, level):
    return corrupt_images(constant(level, side), name, severity).astype(float)


def assert_moments(values, mean, deviation):
    """Mean and standard deviation, within five of their standard errors and of what truncation may change."""
    assert values.mean() == pytest.approx(mean - 0.5, abs=5 * deviation / np.sqrt(values.size))
    assert values.std() == pytest.approx(np.hypot(deviation, 12**-0.5), rel=0.006)


@every_severity
def test_gaussian_noise(severity):
    (deviation,) = parameters("gaussian_noise", 32, severity)
    assert_moments(corrupted_constant("gaussian_noise", severity, 32, 128), 128, 255 * deviation)


@every_severity
def test_gaussian_noise_of_imagenet_is_clipped(severity):
    """In the middle, |x| < 40 levels, clipping changes nothing: the share there is the normal's."""
    from scipy.stats import norm

    (deviation,) = parameters("gaussian_noise", 224, severity)
    values = corrupted_constant("gaussian_noise", severity, 224, 128)
    expected = np.diff(norm.cdf([88, 168], 128, 255 * deviation))[0]
    assert np.mean((values >= 88) & (values < 168)) == pytest.approx(expected, abs=0.004)


@every_severity
def test_speckle_noise_is_proportional(severity):
    (deviation,) = parameters("speckle_noise", 32, severity)
    for level in (60, 120):
        assert_moments(corrupted_constant("speckle_noise", severity, 32, level), level, level * deviation)
    assert not corrupted_constant("speckle_noise", severity, 32, 0).any()


@every_size
@every_severity
def test_shot_noise_has_the_variance_of_its_mean(severity, side):
    (photons,) = parameters("shot_noise", side, severity)
    # Dark enough that white is never reached, and, with few photons, only levels 255 k / photons occur.
    level = 40 if photons < 20 else 128
    values = corrupted_constant("shot_noise", severity, side, level)
    if photons < 20:
        assert set(np.unique(values)) <= {np.uint8(k * 255 / photons) for k in range(int(photons) + 1)} | {254, 255}
        counts = np.round(values / 255 * photons)
        assert np.mean(counts == 0) == pytest.approx(np.exp(-level / 255 * photons), abs=0.005)
        assert np.mean(counts == 1) == pytest.approx(level / 255 * photons * np.exp(-level / 255 * photons), abs=0.005)
    else:
        share = level / 255
        assert values.std() == pytest.approx(255 * np.sqrt(share / photons), rel=0.02)
        assert values.mean() == pytest.approx(level, abs=0.6)


@every_size
@every_severity
def test_impulse_noise_has_its_share_of_black_and_white(severity, side):
    (share,) = parameters("impulse_noise", side, severity)
    values = corrupted_constant("impulse_noise", severity, side, 100)
    assert set(np.unique(values)) == {0, 100, 255}
    for level in (0, 255):
        assert np.mean(values == level) == pytest.approx(share / 2, abs=5 * np.sqrt(share / 2 / values.size))
    single = np.mean((values != 100).sum(-1) == 1)
    assert single == pytest.approx(3 * share * (1 - share) ** 2, abs=0.01)  # channels are hit independently


@every_size
@every_severity
def test_fog_keeps_the_brightest_and_dims_what_has_no_cloud(severity, side):
    amount, _ = parameters("fog", side, severity)
    values = corrupted_constant("fog", severity, side, 200)
    lowest = 200 * (200 / 255) / (200 / 255 + amount)
    assert values.min() >= np.floor(lowest)
    assert values.max() <= 200
    if side == 32:  # 224 pixels are cut out of a map of 256, whose extremes may lie outside
        assert np.all(values.min((1, 2, 3)) <= lowest)
        assert np.all(values.max((1, 2, 3)) >= 199)


def test_plasma_roughens_as_the_decay_falls():
    def roughness(decay):
        cloud = weather._draw_plasma(64, map(np.random.default_rng, range(40)), decay)
        return np.mean(np.diff(cloud, 2, axis=1) ** 2) / cloud.var()

    values = [roughness(decay) for decay in (3, 2.5, 2, 1.75)]
    assert values == sorted(values)
    assert values[-1] > 2 * values[0]


def test_plasma_is_the_diamond_square_method():
    """Point by point, on a torus, from the definition."""
    size, decay = 16, 2.0
    noise = np.random.default_rng(3).uniform(-1, 1, (size, size))
    cloud = np.zeros((size, size))
    step, wobble = size, 100.0
    while step > 1:
        half = step // 2
        for y in range(half, size, step):
            for x in range(half, size, step):
                around = [cloud[(y + a) % size, (x + b) % size] for a in (-half, half) for b in (-half, half)]
                cloud[y, x] = np.mean(around) + wobble * wobble * noise[y, x]
        for y in range(0, size, half):
            for x in range((y + half) % step, size, step):
                offsets = ((half, 0), (-half, 0), (0, half), (0, -half))
                around = [cloud[(y + a) % size, (x + b) % size] for a, b in offsets]
                cloud[y, x] = np.mean(around) + wobble * wobble * noise[y, x]
        step, wobble = half, wobble / decay
    expected = (cloud - cloud.min()) / np.ptp(cloud)
    actual = weather._draw_plasma(size, [np.random.default_rng(3)], decay)[0]
    np.testing.assert_allclose(actual, expected, atol=1e-9)


@every_size
@every_severity
def test_snow_only_brightens_and_black_shows_the_flakes(severity, side):
    images = photographs(side)
    weight = parameters("snow", side, severity)[-1]
    # Whitening leaves white white and never darkens; flakes are added.
    assert np.all(corrupt_images(images, "snow", severity).astype(int) >= images.astype(int) - 1)
    black = corrupted_constant("snow", severity, side, 0)
    base = int(255 * np.float32((1 - weight) * 0.5))
    assert black.min() in (base, base - 1, base + 1)
    flakes = black - black.min()
    symmetric = flakes[:, ::-1, ::-1]
    unclipped = (black < 255) & (black[:, ::-1, ::-1] < 255)
    assert np.abs(flakes - symmetric)[unclipped].max() <= 1  # the layer and itself turned by 180°


@every_size
def test_frost_is_a_weighted_sum_with_one_of_the_textures(side):
    textures = frost_texture.make_textures(side)
    assert len(textures) == 5
    for severity in SEVERITIES:
        image_weight, frost_weight = parameters("frost", side, severity)
        (black,) = corrupt_images(np.zeros((1, side, side, 3), np.uint8), "frost", severity)
        # Where the texture is cut out, it is found again.
        fits = [
            cv2.matchTemplate(texture, np.round(black / frost_weight).astype(np.uint8), cv2.TM_SQDIFF).min()
            for texture in textures
        ]
        assert min(fits) / black.size < 10
        assert sorted(fits)[1] / black.size > 100
        (grey,) = corrupt_images(np.full((1, side, side, 3), 20, np.uint8), "frost", severity)
        unclipped = grey < 255
        assert np.abs(grey.astype(float) - black - 20 * image_weight)[unclipped].max() <= 1


def test_frost_textures_are_not_flat_and_light_blue():
    for texture in frost_texture.make_textures(32):
        assert texture.std(axis=(0, 1)).min() > 15
        red, _, blue = texture.mean(axis=(0, 1))
        assert 90 < red < blue < 200


@every_size
@every_severity
def test_spatter_touches_only_drops(severity, side):
    *_, mud = parameters("spatter", side, severity)
    values = corrupted_constant("spatter", severity, side, 100)
    drop = (values != 100).any(-1)
    assert 0.001 < drop.mean() < 0.6
    if mud:
        assert np.all(values[drop] <= 101)
        assert np.allclose(values.min((0, 1, 2)), [63, 42, 20], atol=8)
    else:
        assert values.min() >= 99
        assert np.all(np.diff(values[drop].mean(0)[[0, 2]]) > 0)  # pale turquoise: less red than blue


def test_water_without_an_edge_leaves_the_image():
    images = constant(100, 32)[:2]
    arguments = (0.0, 0.0, 1.0, 0.7, 0.5, False)
    assert np.array_equal(weather.spatter(images, map(np.random.default_rng, range(2)), *arguments), images)


@every_size
@every_severity
def test_motion_blur_smears_to_the_left_within_45_degrees(severity, side):
    flat = constant(90, side)[:3]
    assert np.array_equal(corrupt_images(flat, "motion_blur", severity), flat)
    dot = np.zeros((8, side, side, 3), np.uint8)
    middle = side // 2
    dot[:, middle - 1 : middle + 2, middle - 1 : middle + 2] = 255
    blurred = corrupt_images(dot, "motion_blur", severity).astype(float)
    radius, _ = parameters("motion_blur", side, severity)
    if middle > 2 * radius + 2:
        assert blurred.sum((1, 2, 3)) == pytest.approx(dot[0].sum(), rel=0.05)
    y, x = np.nonzero(blurred.sum((0, 3)))
    assert np.all(x <= middle + 1)
    assert np.all(np.abs(y - middle) <= middle - x + 3)


def test_elastic_without_displacement_is_affine():
    """Severity 1 of CIFAR only moves three corners: a linear ramp stays a linear ramp."""
    ramp = np.broadcast_to(np.linspace(60, 180, 32).astype(np.uint8)[None, :, None], (1, 32, 32, 3))
    warped = digital.elastic_transform(np.repeat(ramp, 5, 0), map(np.random.default_rng, range(5)), 0, 0, 0.08)
    middle = warped[:, 10:22, 10:22, 0].astype(float)
    assert np.abs(np.diff(middle, 2, axis=2)).max() <= 6  # levels of the ramp are whole: steps are 3 or 4
    assert not np.array_equal(warped[0], warped[1])


@every_severity
def test_elastic_without_any_strength_is_the_image(severity):
    images = photographs(32)
    generators = map(np.random.default_rng, range(len(images)))
    same = digital.elastic_transform(images, generators, 0, 0.05 * severity, 0)
    assert np.abs(same.astype(int) - images).max() <= 1
