"""Crops, flips, stretching and mixing, against OpenCV, all possible windows, and pixels whose share can be read off."""

import functools

import cv2
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings

from datasets.feeds.augment import Augmentation, augment_images, mix, normalize
from errors import UserError

EVERYTHING = Augmentation(upscale=14, pad=1, flip=True, randaugment_ops=2, randaugment_magnitude=1.0)
augment = jax.jit(augment_images, static_argnames="augmentation")


def random_images(batch, height, width, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (batch, height, width, channels), dtype=np.uint8)


def keys_for(num, seed=0):
    return jax.random.split(jax.random.key(seed), num)


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.float32])
def test_normalize_maps_bytes_to_plus_minus_one(dtype):
    images = jnp.asarray(np.arange(256).reshape(1, 16, 16, 1), dtype)
    result = normalize(images)
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(np.asarray(result).ravel(), np.linspace(-1, 1, 256), atol=1e-7)
    assert (result.min(), result.max()) == (-1, 1)


def test_no_augmentation_changes_nothing_but_the_type():
    images = random_images(3, 5, 4)
    result = augment(jnp.asarray(images), keys_for(3), augmentation=Augmentation())
    assert result.dtype == jnp.float32
    np.testing.assert_array_equal(result, images)


def test_an_upscale_below_the_image_is_refused():
    with pytest.raises(UserError, match=r"^augment\.upscale is 8; .* 6 × 9 pixels, .*\[9, 72\]$"):
        Augmentation(upscale=8).check_size(6, 9)
    Augmentation(upscale=9).check_size(6, 9)
    Augmentation().check_size(6, 9)


def test_crops_that_would_show_next_to_nothing_are_refused():
    for changes in ({"pad": 8}, {"pad": 10_000}, {"upscale": 65}):
        with pytest.raises(UserError, match="the images are 8 × 8 pixels"):
            Augmentation(**changes).check_size(8, 8)
    Augmentation(pad=7, upscale=64).check_size(8, 8)


def test_the_fields_come_from_the_config():
    fields = {"upscale": 36, "pad": 2, "flip": True, "randaugment_ops": 2, "randaugment_magnitude": 1.0}
    fields["solarize_wraps"] = True
    config = ml_collections.ConfigDict({**fields, "mixup": 0.2, "cutmix": 1.0}).lock()
    assert Augmentation.from_config(config) == Augmentation(**fields, mixup=0.2, cutmix=1.0)


def test_upscale_crops_from_opencvs_bilinear_image():
    height, width, side = 8, 10, 13
    images = random_images(20, height, width)
    results = augment(jnp.asarray(images), keys_for(20), augmentation=Augmentation(upscale=side))
    for image, result in zip(images, np.asarray(results), strict=True):
        exact = cv2.resize(image.astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR)
        windows = np.lib.stride_tricks.sliding_window_view(exact, (height, width), axis=(0, 1))
        loss = np.moveaxis(windows, 2, -1) - result  # what truncation took: [top, left, height, width, channel]
        fits = np.all((loss > -1e-3) & (loss < 1 + 1e-3), axis=(2, 3, 4))
        assert fits.sum() == 1
    assert np.array_equal(results, np.floor(results))


def test_upscale_keeps_a_flat_image():
    values = np.arange(256, dtype=np.uint8)
    images = np.broadcast_to(values[:, None, None, None], (256, 32, 32, 1))
    result = augment(jnp.asarray(images), keys_for(256), augmentation=Augmentation(upscale=41))
    np.testing.assert_array_equal(result, images)


@pytest.mark.parametrize("flip", [False, True])
def test_crops_are_true_windows_and_all_equally_likely(flip):
    pad, num = 1, 5400
    image = random_images(1, 5, 4)[0]
    padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
    windows = [padded[top : top + 5, left : left + 4] for top in range(3) for left in range(3)]
    if flip:
        windows += [window[:, ::-1] for window in windows]
    counts = dict.fromkeys((window.astype(np.float32).tobytes() for window in windows), 0)
    images = jnp.tile(jnp.asarray(image), (num, 1, 1, 1))
    for result in np.asarray(augment(images, keys_for(num), augmentation=Augmentation(pad=pad, flip=flip))):
        counts[result.tobytes()] += 1  # KeyError: not a window
    assert len(counts) == len(windows)
    assert scipy.stats.chisquare(list(counts.values())).pvalue > 1e-3


def test_flip_alone_mirrors_half_of_the_images():
    images = random_images(4000, 3, 4, channels=1)
    results = np.asarray(augment(jnp.asarray(images), keys_for(4000), augmentation=Augmentation(flip=True)))
    mirrored = (results == images[:, :, ::-1]).all((1, 2, 3))
    kept = (results == images).all((1, 2, 3))
    assert np.all(mirrored ^ kept)
    assert scipy.stats.binomtest(int(mirrored.sum()), 4000).pvalue > 1e-3


@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(6)), seed=st.integers(0, 2**31))
def test_a_result_depends_on_its_own_image_and_key_only(order, seed):
    images, keys = jnp.asarray(random_images(6, 10, 12, seed=seed)), keys_for(6, seed)
    order = np.array(order)
    results = np.asarray(augment(images, keys, augmentation=EVERYTHING))
    np.testing.assert_array_equal(augment(images[order], keys[order], augmentation=EVERYTHING), results[order])
    # The others' images and keys change; the first of the order stays what it was.
    others = np.arange(6) != order[0]
    changed = jnp.where(others[:, None, None, None], 255 - images, images)
    other_keys = jnp.where(others, keys[::-1], keys)
    np.testing.assert_array_equal(
        np.asarray(augment(changed, other_keys, augmentation=EVERYTHING))[order[0]], results[order[0]]
    )


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_results_are_bytes_and_follow_from_the_key(seed):
    images = jnp.asarray(random_images(6, 10, 12, seed=seed))
    results = np.asarray(augment(images, keys_for(6, seed), augmentation=EVERYTHING))
    assert results.shape == images.shape
    assert results.dtype == np.float32
    assert np.all((results >= 0) & (results <= 255) & (results == np.floor(results)))
    np.testing.assert_array_equal(augment(images, keys_for(6, seed), augmentation=EVERYTHING), results)
    assert not np.array_equal(augment(images, keys_for(6, seed + 1), augmentation=EVERYTHING), results)


def test_grey_images_pass_through_everything():
    images = jnp.asarray(random_images(64, 10, 10, channels=1))
    results = np.asarray(augment(images, keys_for(64), augmentation=EVERYTHING))
    assert results.shape == images.shape
    assert len({result.tobytes() for result in results}) > 60


@functools.partial(jax.jit, static_argnames=("augmentation", "num", "height", "width"))
def mix_black_and_white(augmentation, num, height=8, width=8):
    """`num` batches of a black and a white image: what comes out of the white one is its own share, pixel by pixel."""
    images = jnp.stack([jnp.zeros((height, width, 1)), jnp.ones((height, width, 1))])
    images, targets = jax.vmap(lambda key: mix(images, jnp.eye(2), jnp.ones(2), key, augmentation))(keys_for(num))
    return images[..., 0], targets


@pytest.mark.parametrize("augmentation", [Augmentation(mixup=0.2), Augmentation(cutmix=1.0)], ids=["mixup", "cutmix"])
def test_every_sample_takes_the_same_share_from_the_one_before(augmentation):
    num_samples = 5
    values = 10.0 ** np.arange(num_samples, dtype=np.float32)
    images = jnp.asarray(np.broadcast_to(values[:, None, None, None], (num_samples, 8, 8, 3)))
    mix_all, shares = jax.jit(functools.partial(mix, augmentation=augmentation)), []
    for key in keys_for(4):
        mixed, targets = mix_all(images, jnp.eye(num_samples), jnp.ones(num_samples), key)
        own = np.diag(targets)
        before = np.asarray(targets)[np.arange(num_samples), np.arange(num_samples) - 1]
        np.testing.assert_allclose(own, own[0])
        np.testing.assert_allclose(own + before, 1, rtol=1e-6)
        np.testing.assert_allclose(mixed.mean((1, 2, 3)), own * values + before * np.roll(values, 1), rtol=1e-5)
        shares.append(own[0])
    assert len(set(shares)) > 1


@pytest.mark.parametrize(
    "augmentation", [Augmentation(mixup=1.0), Augmentation(cutmix=1.0), Augmentation(mixup=1.0, cutmix=1.0)]
)
def test_what_fills_a_batch_up_is_nobodys_partner(augmentation):
    """Whatever stands there: the last two of six, and one in the middle that could not be decoded."""
    mixed_by = jax.jit(functools.partial(mix, augmentation=augmentation))
    mask = jnp.asarray([1.0, 0.0, 1.0, 1.0, 0.0, 0.0])
    images, targets = random_images(6, 8, 8).astype(np.float32), np.eye(6, dtype=np.float32)
    filled = np.where(mask[:, None, None, None] > 0, images, 200)
    for key in keys_for(8):
        mixed, mixed_targets = mixed_by(jnp.asarray(images), jnp.asarray(targets), mask, key)
        others, _ = mixed_by(jnp.asarray(filled), jnp.asarray(targets), mask, key)
        for row in (0, 2):
            np.testing.assert_array_equal(mixed[row], images[row])
            np.testing.assert_array_equal(mixed_targets[row], targets[row])
        np.testing.assert_array_equal(mixed[np.array([0, 2, 3])], others[np.array([0, 2, 3])])
        assert float(mixed_targets[3, 2]) == pytest.approx(1 - float(mixed_targets[3, 3]), abs=1e-6)


def test_mixups_lambda_is_beta_distributed_and_not_folded():
    alpha = 0.2
    images, targets = mix_black_and_white(Augmentation(mixup=alpha), num=4000)
    shares = np.asarray(images[:, 1, 0, 0])
    np.testing.assert_allclose(targets[:, 1, 1], shares, atol=1e-6)
    np.testing.assert_array_equal(images[:, 1], np.broadcast_to(shares[:, None, None], (4000, 8, 8)))
    assert scipy.stats.kstest(shares, scipy.stats.beta(alpha, alpha).cdf).pvalue > 1e-3


def clipped_box_share(num, height, width, rng):
    """What is kept of images when boxes of a Beta(1, 1) share, centred anywhere, are cut out: without any pixels."""
    scale = np.sqrt(rng.random(num))
    kept = 1.0
    for length in (height, width):
        centre, half = rng.random(num) * length, scale * length / 2
        kept = kept * (np.minimum(centre + half, length) - np.maximum(centre - half, 0)) / length
    return 1 - kept


def test_cutmix_pastes_one_box_and_counts_its_pixels():
    height, width, num = 48, 40, 2000
    images, targets = mix_black_and_white(Augmentation(cutmix=1.0), num=num, height=height, width=width)
    own = np.asarray(images[:, 1])
    assert set(np.unique(own)) == {0, 1}
    np.testing.assert_array_equal(images[:, 0], 1 - own)
    np.testing.assert_allclose(targets[:, 1, 1], own.mean((1, 2)), atol=1e-6)
    np.testing.assert_allclose(targets[:, 1, 0], 1 - own.mean((1, 2)), atol=1e-6)
    pasted = own == 0
    rows, columns = pasted.any(2), pasted.any(1)
    np.testing.assert_array_equal(pasted, rows[:, :, None] & columns[:, None, :])
    for lines in (rows, columns):  # without gaps
        assert np.all(np.abs(np.diff(np.pad(lines, ((0, 0), (1, 1))).astype(int))).sum(1) <= 2)
    expected = clipped_box_share(20 * num, height, width, np.random.default_rng(0))
    assert scipy.stats.ks_2samp(own.mean((1, 2)), expected).pvalue > 1e-3


def test_a_batch_is_mixed_by_one_of_the_two_with_equal_chance():
    images, targets = mix_black_and_white(Augmentation(mixup=1.0, cutmix=1.0), num=2000)
    own = np.asarray(images[:, 1])
    np.testing.assert_allclose(targets[:, 1, 1], own.mean((1, 2)), atol=1e-6)
    by_cutmix = np.isin(own, [0, 1]).all((1, 2))
    by_mixup = np.ptp(own, (1, 2)) == 0
    assert np.all(by_cutmix | by_mixup)
    assert scipy.stats.binomtest(int(by_mixup.sum()), 2000).pvalue > 1e-3


def test_without_mixing_nothing_changes():
    images, targets = jnp.ones((2, 3, 3, 1)), jnp.eye(2)
    assert mix(images, targets, jnp.ones(2), jax.random.key(0), Augmentation(flip=True)) == (images, targets)


def test_solarize_wraps_where_the_config_says_so():
    keys = keys_for(200)
    images = jnp.asarray(random_images(200, 6, 5))
    wrapping, plain = (
        augment(images, keys, augmentation=Augmentation(randaugment_ops=1, randaugment_magnitude=10.0, **fields))
        for fields in ({"solarize_wraps": True}, {})
    )
    solarized = np.any(wrapping != plain, axis=(1, 2, 3))
    assert 0 < solarized.sum() < 40  # a 17th of them
    np.testing.assert_array_equal(wrapping[solarized], 255 - images[solarized])
    np.testing.assert_array_equal(plain[solarized], images[solarized])
