"""RandAugment against OpenCV, SciPy, NumPy's own padding, exact integer arithmetic and hand-computed cases."""

import bisect
import math

import cv2
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
from hypothesis import given, settings

from datasets.feeds.randaugment import MAX_MAGNITUDE, build_operations, randaugment

SIGNED = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
EVERY_BYTE = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)


def random_image(height=23, width=18, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def apply(name, magnitude, image, seed=0):
    result = build_operations(magnitude)[name](jnp.asarray(image), jax.random.key(seed))
    assert result.shape == image.shape
    assert result.dtype == jnp.uint8
    return np.asarray(result)


def assert_truncated(actual, exact, slack=1e-3):
    """`actual` is `exact` cut to 0..255 and to whole numbers; within `slack` of a whole number rounding decides."""
    assert np.all(actual >= np.floor(np.clip(exact - slack, 0, 255)))
    assert np.all(actual <= np.floor(np.clip(exact + slack, 0, 255)))


def test_there_are_seventeen_operations_and_the_range_of_magnitudes_is_ten():
    assert len(build_operations(MAX_MAGNITUDE)) == 17
    assert MAX_MAGNITUDE == 10


@pytest.mark.parametrize(
    ("name", "magnitude", "expected"),
    [
        ("identity", 10, lambda v: v),
        ("invert", 1, lambda v: 255 - v),
        ("posterize", 1, lambda v: 128 * (v // 128)),
        ("posterize", 5, lambda v: 64 * (v // 64)),
        ("posterize", 10, lambda v: 16 * (v // 16)),
        ("solarize", 0, lambda v: 255 - v),
        ("solarize", 1, lambda v: v if v < 25 else 255 - v),
        ("solarize", 10, lambda v: v),
        ("solarize_add", 1, lambda v: v + 11 if v < 128 else v),
        ("solarize_add", 10, lambda v: v + 110 if v < 128 else v),
        ("color", 1, lambda v: v),
    ],
)
def test_operations_on_single_values(name, magnitude, expected):
    assert apply(name, magnitude, EVERY_BYTE).ravel().tolist() == [expected(v) for v in range(256)]


@pytest.mark.parametrize(("magnitude", "threshold"), [(0, 0), (1, 25), (9.99, 255), (10, 0)])
def test_a_threshold_that_is_a_byte(magnitude, threshold):
    """25.6 times the magnitude, rounded down: 256 does not fit into a byte and becomes 0."""
    solarize = build_operations(magnitude, solarize_wraps=True)["solarize"]
    result = np.asarray(solarize(jnp.asarray(EVERY_BYTE), jax.random.key(0))).ravel().tolist()
    assert result == [v if v < threshold else 255 - v for v in range(256)]


def test_the_wrapped_threshold_hits_the_images_that_solarize_is_drawn_for():
    keys = jax.random.split(jax.random.key(3), 2000)
    images = jnp.tile(jnp.asarray(random_image(6, 5, 1)), (2000, 1, 1, 1))
    run = jax.jit(randaugment, static_argnums=(2, 3, 4))
    differs = np.any(run(images, keys, 2, 10.0, False) != run(images, keys, 2, 10.0, True), axis=(1, 2, 3))
    # In 33 of 289 pairs (11.4 %) it is drawn at least once; drawn twice, it inverts twice, which changes nothing.
    assert scipy.stats.binomtest(int(differs.sum()), 2000, 32 / 289).pvalue > 1e-3


def test_auto_contrast_is_a_min_max_normalisation_of_each_channel():
    image = random_image()
    image[..., 0] = image[..., 0] // 3 + 50
    image[..., 1] = 77
    actual = apply("auto_contrast", 5, image)
    for channel in (0, 2):
        exact = cv2.normalize(image[..., channel].astype(np.float64), None, 0, 255, cv2.NORM_MINMAX)
        assert_truncated(actual[..., channel], exact)
    assert (actual[..., 0].min(), actual[..., 0].max()) == (0, 255)
    np.testing.assert_array_equal(actual[..., 1], 77)


def test_equalize_agrees_with_opencv_where_the_two_definitions_do():
    # With 255 pixels of each of 128 values PIL's step is 127 and both tables are 255 v / 127, rounded.
    rng = np.random.default_rng(0)
    values = [rng.choice(256, 128, replace=False).astype(np.uint8) for _ in range(3)]
    planes = [rng.permutation(np.repeat(v, 255)).reshape(160, 204) for v in values]
    expected = np.stack([cv2.equalizeHist(plane) for plane in planes], axis=-1)
    np.testing.assert_array_equal(apply("equalize", 5, np.stack(planes, axis=-1)), expected)


@pytest.mark.parametrize("skew", [1, 3, 20])
def test_equalize_follows_pils_table(skew):
    image = (255 * np.random.default_rng(skew).random((160, 204, 3)) ** skew).astype(np.uint8)
    actual = apply("equalize", 5, image)
    for channel in range(3):
        pixels = sorted(image[..., channel].ravel().tolist())
        step = (len(pixels) - pixels.count(pixels[-1])) // 255
        table = {v: min((step // 2 + bisect.bisect_left(pixels, v)) // step, 255) for v in set(pixels)}
        assert actual[..., channel].ravel().tolist() == [table[v] for v in image[..., channel].ravel().tolist()]


def test_equalize_leaves_an_image_with_too_few_pixels_to_share_out():
    image = np.array([[[3], [9]], [[200], [200]]], np.uint8)  # step = (4 - 2) // 255 = 0
    np.testing.assert_array_equal(apply("equalize", 5, image), image)


@pytest.mark.parametrize("magnitude", [0, 1, 5, 10])
@pytest.mark.parametrize("name", ["color", "contrast", "brightness", "sharpness"])
def test_enhancements_blend_with_their_degenerate_image(name, magnitude):
    image = random_image()
    pixels = image.astype(np.int64)
    if name == "color":  # in whole numbers: weights times 10^4, rounding factor 255.5 / 255 as 2555 / 2550
        degenerate = (pixels @ [2989, 5870, 1140] * 2555 // (10000 * 2550))[..., None]
    elif name == "contrast":
        degenerate = 23 * 18 // 256
    elif name == "brightness":
        degenerate = 0
    else:
        kernel = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]])[..., None]
        degenerate = pixels.copy()
        degenerate[1:-1, 1:-1] = (scipy.ndimage.convolve(pixels, kernel) // 13)[1:-1, 1:-1]
    factor = 0.18 * magnitude + 0.1
    assert_truncated(apply(name, magnitude, image), degenerate + factor * (pixels - degenerate))


@pytest.mark.parametrize(("side", "grey"), [(32, 4), (36, 5), (260, 255)])
def test_contrast_pulls_towards_a_count_of_pixels(side, grey):
    black = np.zeros((side, side, 1), np.uint8)
    assert_truncated(apply("contrast", 1, black), np.full(black.shape, 0.72 * grey))


def source_coordinates(name, magnitude, sign, height, width):
    """Where each output pixel comes from, in float64: rotation about the centre, shear from the top left corner."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    amount = sign * magnitude
    if name == "rotate":
        turn = np.exp(1j * math.radians(3 * amount))
        centre = complex(width - 1, height - 1) / 2
        source = (x + 1j * y - centre) * turn + centre
        return source.imag, source.real
    return {
        "shear_x": (y, x + 0.03 * amount * y),
        "shear_y": (y + 0.03 * amount * x, x),
        "translate_x": (y, x + 10 * amount),
        "translate_y": (y + 10 * amount, x),
    }[name]


@pytest.mark.parametrize("magnitude", [1, 4.3, 10])
@pytest.mark.parametrize("name", SIGNED)
def test_moving_operations_agree_with_scipy(name, magnitude):
    image = random_image()
    signs = set()
    for seed in range(8):
        actual = apply(name, magnitude, image, seed)
        matching = []
        for sign in (-1, 1):
            rows, columns = source_coordinates(name, magnitude, sign, *image.shape[:2])
            planes = [
                scipy.ndimage.map_coordinates(plane, (rows, columns), order=0, mode="reflect")
                for plane in np.moveaxis(image, -1, 0)
            ]
            expected = np.stack(planes, axis=-1)
            # Half way between two pixels the last bit of float32 decides; everywhere else the match is exact.
            clear = np.abs(np.stack([rows, columns]) % 1 - 0.5).min(0) > 1e-4
            assert clear.mean() > 0.7
            if np.array_equal(actual[clear], expected[clear]):
                matching.append(sign)
        assert len(matching) == 1
        signs.update(matching)
    assert signs == {-1, 1}


@pytest.mark.parametrize(("magnitude", "shift"), [(1, 10), (10, 100)])
def test_translation_continues_with_the_mirror_image(magnitude, shift):
    image = random_image()
    padded = np.pad(image, ((0, 0), (shift, shift), (0, 0)), mode="symmetric")
    shifted = {padded[:, :18].tobytes(), padded[:, 2 * shift :].tobytes()}
    assert {apply("translate_x", magnitude, image, seed).tobytes() for seed in range(10)} == shifted


@pytest.mark.parametrize(("magnitude", "half_side"), [(1, 4), (2.6, 10)])
def test_cutout_covers_a_square_around_a_uniform_pixel(magnitude, half_side):
    height, width, num_keys = 20, 14, 4000
    image = jnp.zeros((height, width, 1), jnp.uint8)
    cutout = build_operations(magnitude)["cutout"]
    covered = np.asarray(jax.vmap(lambda key: cutout(image, key))(jax.random.split(jax.random.key(0), num_keys)))[
        ..., 0
    ]
    assert set(np.unique(covered)) == {0, 128}
    rows, columns = covered.any(2), covered.any(1)
    np.testing.assert_array_equal(covered > 0, rows[:, :, None] & columns[:, None, :])
    for lines, length in ((rows, height), (columns, width)):
        at = np.arange(length)
        spans = [(centre - half_side <= at) & (at < centre + half_side) for centre in range(length)]
        counts = [int((lines == span).all(1).sum()) for span in spans]
        if half_side == 4:  # a span names its centre
            assert sum(counts) == num_keys
            assert scipy.stats.chisquare(counts).pvalue > 1e-3
        else:  # spans cut at both ends look alike
            assert all((lines[:, None] == np.array(spans)[None]).all(2).any(1))


@settings(max_examples=10, deadline=None)
@given(value=st.integers(0, 255), magnitude=st.floats(0, 10), seed=st.integers(0, 2**31))
def test_a_flat_grey_image_has_nothing_to_move_stretch_or_sharpen(value, magnitude, seed):
    image = np.full((23, 18, 3), value, np.uint8)
    for name in (*SIGNED, "identity", "auto_contrast", "equalize", "sharpness", "color"):
        np.testing.assert_array_equal(apply(name, magnitude, image, seed), image, err_msg=name)


@settings(max_examples=10, deadline=None)
@given(magnitude=st.floats(0, 10), seed=st.integers(0, 2**31))
def test_operations_do_not_wrap_around(magnitude, seed):
    """Of two images, the brighter stays at least as bright where the operation is monotone: bytes never overflow."""
    image = random_image(seed=seed)
    darker = image // 2
    for name in (*SIGNED, "identity", "posterize", "contrast", "brightness", "cutout"):
        assert np.all(apply(name, magnitude, darker, seed) <= apply(name, magnitude, image, seed)), name


MAGNITUDE = 4
DRAWN_IMAGE = random_image(19, 18) // 2 + 60  # large and dull enough that no two operations coincide on it


@pytest.fixture(scope="module")
def apply_all():
    """A function from an image to the results of all operations with both signs: {name: [one or two images]}."""
    sign_keys = [jax.random.key(seed) for seed in range(2)]
    run = jax.jit(lambda image, key: [f(image, key) for f in build_operations(MAGNITUDE).values()])

    def results(image):
        both = [run(jnp.asarray(image), key) for key in sign_keys]
        named = {name: [np.asarray(b[i]) for b in both] for i, name in enumerate(build_operations(MAGNITUDE))}
        return {name: pair if name in SIGNED else pair[:1] for name, pair in named.items() if name != "cutout"}

    assert all(len({r.tobytes() for r in results(DRAWN_IMAGE)[name]}) == 2 for name in SIGNED)
    return results


def draw(num_ops, num_keys):
    keys = jax.random.split(jax.random.key(7), num_keys)
    images = jnp.tile(jnp.asarray(DRAWN_IMAGE), (num_keys, 1, 1, 1))
    return np.asarray(jax.jit(randaugment, static_argnums=(2, 3))(images, keys, num_ops, MAGNITUDE))


def test_every_operation_is_drawn_equally_often(apply_all):
    names = {image.tobytes(): name for name, images in apply_all(DRAWN_IMAGE).items() for image in images}
    assert len(names) == 11 + 2 * len(SIGNED)  # all different, so that a result names its operation
    counts = dict.fromkeys(build_operations(MAGNITUDE), 0)
    for image in draw(num_ops=1, num_keys=3400):
        name = names.get(image.tobytes(), "cutout")
        assert name != "cutout" or np.all((image == DRAWN_IMAGE) | (image == 128))
        counts[name] += 1
    assert scipy.stats.chisquare(list(counts.values())).pvalue > 1e-3


def test_operations_follow_each_other(apply_all):
    once = [image for images in apply_all(DRAWN_IMAGE).values() for image in images]
    twice = {image.tobytes() for first in once for images in apply_all(first).values() for image in images}
    drawn = [image.tobytes() for image in draw(num_ops=2, num_keys=1000)]
    without_cutout = sum(image in twice for image in drawn)
    assert scipy.stats.binomtest(without_cutout, len(drawn), (16 / 17) ** 2).pvalue > 1e-3
    # Most pairs lead where no single operation does.
    assert np.mean([image in {single.tobytes() for single in once} for image in drawn]) < 0.5


def test_the_accelerator_form_gives_the_same_pixels(monkeypatch):
    keys = jax.random.split(jax.random.key(1), 96)
    images = jnp.asarray(np.stack([random_image(12, 12, 3, seed) for seed in range(96)]))
    serial = jax.jit(lambda images, keys: randaugment(images, keys, 2, 1.0))(images, keys)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    batched = jax.jit(lambda images, keys: randaugment(images, keys, 2, 1.0)).trace(images, keys)
    assert "cond[" not in str(batched.jaxpr)  # selects, no branch per image
    np.testing.assert_array_equal(batched.lower().compile()(images, keys), serial)
