"""Random changes of the training images, computed on the device inside the jitted step.

Every sample has a key of its own, so what happens to it depends only on that key and its pixels: not on the rest of the
batch, the number of devices, or how often training was resumed. Mixing (mixup, cutmix) is the exception: it needs a
partner and draws once per batch.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from datasets.feeds.randaugment import randaugment
from errors import UserError

_MOST_ENLARGED = 8  # times; a crop then shows a 64th of the image


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What is done to a training batch. The fields are those of the config section `augment`; 0 switches a part off.

    Attributes:
        upscale: side in pixels to which images are enlarged before a random crop of their original size.
        pad: black pixels added on each side before that crop.
        flip: mirror left and right with probability 1/2.
        randaugment_ops: number of RandAugment operations in a row.
        randaugment_magnitude: the strength of all of them, 0 to 10. Neither 0 nor 1 is mild, see `randaugment`.
        solarize_wraps: at magnitude 10 one of these operations inverts all values, not none, see `build_operations`.
        mixup: alpha of mixup's Beta(alpha, alpha).
        cutmix: alpha of cutmix's Beta(alpha, alpha). With both above 0, each batch takes one of the two by coin toss.

    Raises:
        UserError: a value is outside its range.
    """

    upscale: int = 0
    pad: int = 0
    flip: bool = False
    randaugment_ops: int = 0
    randaugment_magnitude: float = 0.0
    solarize_wraps: bool = False
    mixup: float = 0.0
    cutmix: float = 0.0

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Reads the fields from the config section `augment`, a ConfigDict with one entry per field."""
        return cls(**{field.name: config[field.name] for field in dataclasses.fields(cls)})

    def check_size(self, height: int, width: int) -> None:
        """Refuses crops that would show nothing, or next to nothing, of images of this size.

        An `upscale` below their size leaves no crop, one far above it a few pixels, and with a `pad` of their size some
        crops are all black.
        """
        sides, largest = f"the images are {height} × {width} pixels", max(height, width)
        if self.upscale and not largest <= self.upscale <= _MOST_ENLARGED * largest:
            raise UserError(
                f"augment.upscale is {self.upscale}; {sides}, so it must be 0 (off) or in "
                f"[{largest}, {_MOST_ENLARGED * largest}]"
            )
        if self.pad >= min(height, width):
            raise UserError(f"augment.pad is {self.pad}; {sides}, so it must be below {min(height, width)}")


def normalize(images: jax.Array) -> jax.Array:
    """Pixels from [0, 255] to [-1, 1], as float32 of the same shape: x / 127.5 - 1."""
    return images.astype(jnp.float32) / 127.5 - 1.0


def augment_images(images: jax.Array, keys: jax.Array, augmentation: Augmentation) -> jax.Array:
    """Enlarge, RandAugment, random crop and flip, in the order of the paper's CIFAR pipeline.

    `Augmentation.check_size` must have accepted the size of the images.

    Args:
        images: uint8 [batch, height, width, channels], one or three channels.
        keys: [batch] typed PRNG keys, one per sample.
        augmentation: what to do; static under jit.

    Returns:
        float32 [batch, height, width, channels], whole numbers in [0, 255].
    """
    _, height, width, _ = images.shape
    randaugment_keys, window_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
    if augmentation.upscale:
        images = _enlarge(images, augmentation.upscale)
    if augmentation.randaugment_ops:
        strength = augmentation.randaugment_ops, augmentation.randaugment_magnitude, augmentation.solarize_wraps
        images = randaugment(images, randaugment_keys, *strength)
    if augmentation.pad:
        border = (augmentation.pad, augmentation.pad)
        images = jnp.pad(images, ((0, 0), border, border, (0, 0)))
    if images.shape[1:3] != (height, width):
        images = _crop_randomly(images, window_keys, height, width, augmentation.flip)
    elif augmentation.flip:
        images = _flip_randomly(images, window_keys)
    return images.astype(jnp.float32)


def mix(
    images: jax.Array, targets: jax.Array, mask: jax.Array, key: jax.Array, augmentation: Augmentation
) -> tuple[jax.Array, jax.Array]:
    """Mixes every sample with the one before it (the first with the last) by mixup or cutmix.

    One lambda per batch, not folded to at least 1/2: it is the sample's own share, and 1 - lambda its partner's. As
    batches come in random order, the sample before is as good a partner as any other, and devices that share a batch
    exchange one image each. Without mixup and cutmix nothing changes.

    Args:
        images: float [batch, height, width, channels]; mixing commutes with `normalize`.
        targets: float [batch, classes], one-hot or soft.
        mask: float [batch], 0 for rows that only fill the batch up; a sample with such a partner stays as it is.
        key: one PRNG key for the batch.
        augmentation: its `mixup` and `cutmix` are read; static under jit.

    Returns:
        images and targets of the same shapes.

    Sources: Zhang et al. 2018 (mixup), Yun et al. 2019 (cutmix).
    """
    if augmentation.mixup and augmentation.cutmix:
        coin_key, key = jax.random.split(key)
        mixed = jax.lax.cond(
            jax.random.bernoulli(coin_key),
            lambda: _mixup(images, targets, key, augmentation.mixup),
            lambda: _cutmix(images, targets, key, augmentation.cutmix),
        )
    elif augmentation.mixup:
        mixed = _mixup(images, targets, key, augmentation.mixup)
    elif augmentation.cutmix:
        mixed = _cutmix(images, targets, key, augmentation.cutmix)
    else:
        return images, targets
    has_partner = jnp.roll(mask, 1) > 0
    images = jnp.where(has_partner[:, None, None, None], mixed[0], images)
    return images, jnp.where(has_partner[:, None], mixed[1], targets)


def _enlarge(images: jax.Array, side: int) -> jax.Array:
    """To side x side, bilinearly and without antialiasing; the result is truncated to uint8.

    Written as linear interpolations and not with `jax.image.resize`, whose matrix products turn a constant area of 200
    into 199.99998, which truncation makes 199.
    """
    values = images.astype(jnp.float32)
    for axis in (2, 1):
        length = values.shape[axis]
        position = (np.arange(side) + 0.5) * length / side - 0.5
        below = np.floor(position).astype(int)
        weight = (position - below).astype(np.float32).reshape([-1 if other == axis else 1 for other in range(4)])
        start = values.take(np.clip(below, 0, length - 1), axis)
        end = values.take(np.clip(below + 1, 0, length - 1), axis)
        values = start + weight * (end - start)
    return values.astype(jnp.uint8)


def _crop_randomly(images: jax.Array, keys: jax.Array, height: int, width: int, flip: bool) -> jax.Array:
    """A height x width window of each image at a uniform offset, mirrored half the time if `flip`, in one gather."""
    num_offsets = jnp.array([images.shape[1] - height + 1, images.shape[2] - width + 1])

    def window(image, key):
        offset_key, flip_key = jax.random.split(key)
        top, left = jax.random.randint(offset_key, (2,), 0, num_offsets)
        rows = top + jnp.arange(height)[:, None]
        columns = left + jnp.arange(width)[None, :]
        if flip:
            columns = jnp.where(jax.random.bernoulli(flip_key), columns[:, ::-1], columns)
        return image[rows, columns]

    return jax.vmap(window)(images, keys)


def _flip_randomly(images: jax.Array, keys: jax.Array) -> jax.Array:
    """Mirrors half of the images, drawn as in `_crop_randomly`, but without a gather, which is slow on TPUs."""
    mirrored = jax.vmap(lambda key: jax.random.bernoulli(jax.random.split(key)[1]))(keys)
    return jnp.where(mirrored[:, None, None, None], images[:, :, ::-1], images)


def _mixup(images, targets, key, alpha):
    """The weighted mean of each sample and its partner, weights lambda and 1 - lambda."""
    share = jax.random.beta(key, alpha, alpha)
    return _blend_with_partner(images, share), _blend_with_partner(targets, share)


def _cutmix(images, targets, key, alpha):
    """Pastes a box of the partner, of area share 1 - lambda, around a uniform centre; the border cuts it off.

    Targets follow the pixels that were really pasted, after rounding to whole pixels and cutting.
    """
    share_key, centre_key = jax.random.split(key)
    height, width = images.shape[1:3]
    side = jnp.sqrt(1.0 - jax.random.beta(share_key, alpha, alpha))
    size = jnp.array([height, width], jnp.float32)
    centre = jax.random.uniform(centre_key, (2,)) * size
    top, left = jnp.round(centre - side * size / 2).astype(jnp.int32)
    bottom, right = jnp.round(centre + side * size / 2).astype(jnp.int32)
    row, column = jnp.arange(height)[:, None], jnp.arange(width)[None, :]
    own = ~((top <= row) & (row < bottom) & (left <= column) & (column < right))
    mixed = jnp.where(own[None, :, :, None], images, jnp.roll(images, 1, axis=0))
    return mixed, _blend_with_partner(targets, own.mean())


def _blend_with_partner(values, share):
    return share * values + (1.0 - share) * jnp.roll(values, 1, axis=0)
