"""RandAugment as the paper ran it: a few random operations in a row, all of one fixed strength.

The paper used a fork of the TensorFlow model garden's version. Its scale (0 to 10) and quirks are reproduced, since
they shape the published curves. Magnitude 1 is not mild: contrast and colour fall to 0.28, posterize keeps one bit,
solarize inverts everything above 24, and images move by 10 pixels whatever their size. Pixels are uint8 throughout, so
every operation truncates where the original casts. AutoContrast and the smoothing of Sharpness are exact integer
quotients here; the original's float sums may fall just below a whole number and lose one level.

Source: Cubuk et al. 2020, "RandAugment: Practical automated data augmentation with a reduced search space".
"""

import functools
import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

MAX_MAGNITUDE = 10
Operation = Callable[[jax.Array, jax.Array], jax.Array]  # (image, key) -> image
Movement = Callable[..., jax.Array]  # (key, height, width) -> matrix [2, 3], see warp


def randaugment(
    images: jax.Array, keys: jax.Array, num_ops: int, magnitude: float, solarize_wraps: bool = False
) -> jax.Array:
    """Applies `num_ops` random operations to each image; a pure function of that image and its key.

    Args:
        images: uint8 [batch, height, width, channels], one or three channels.
        keys: [batch] typed PRNG keys.
        num_ops: operations per image, drawn uniformly with replacement from `build_operations`.
        magnitude: their strength, 0 to 10.
        solarize_wraps: see `build_operations`.

    Returns:
        uint8 images of the same shape.
    """
    operations = build_operations(magnitude, solarize_wraps)
    # A loop that runs only the chosen operation is several times faster on a CPU; an accelerator would idle in it.
    if jax.default_backend() == "cpu":
        one = functools.partial(_apply_to_image, num_ops=num_ops, operations=operations)
        return jax.lax.map(lambda sample: one(*sample), (images, keys))
    return _apply_to_batch(images, keys, num_ops, operations, build_movements(magnitude))


def _apply_to_image(image: jax.Array, key: jax.Array, num_ops: int, operations: Mapping[str, Operation]) -> jax.Array:
    """`randaugment` of one uint8 image [height, width, channels] with its key."""
    branches = tuple(operations.values())

    def apply_one(image, key):
        choice, argument_key = _draw(key, len(branches))
        return jax.lax.switch(choice, branches, image, argument_key), None

    image, _ = jax.lax.scan(apply_one, image, jax.random.split(key, num_ops))
    return image


def _apply_to_batch(
    images: jax.Array,
    keys: jax.Array,
    num_ops: int,
    operations: Mapping[str, Operation],
    moves: Mapping[str, Movement],
) -> jax.Array:
    """Applies every operation to every image and chooses between the results.

    All operations that move pixels share one gather, by the matrix that the image's operation has; the others have the
    identity.
    """
    names = tuple(operations)
    pixels = {**operations, **dict.fromkeys(moves, lambda image, key: image)}

    def move(name):
        return lambda key: moves[name](key, *images.shape[1:3]) if name in moves else jnp.eye(2, 3)

    def apply_one(image, key):
        choice, argument_key = _draw(key, len(names))
        image = warp(image, jax.lax.switch(choice, [move(name) for name in names], argument_key))
        return jax.lax.switch(choice, [pixels[name] for name in names], image, argument_key)

    for step_keys in jnp.moveaxis(jax.vmap(lambda key: jax.random.split(key, num_ops))(keys), 1, 0):
        images = jax.vmap(apply_one)(images, step_keys)
    return images


def _draw(key: jax.Array, num_choices: int) -> tuple[jax.Array, jax.Array]:
    """Which operation, and the key for its sign or place."""
    choice_key, argument_key = jax.random.split(key)
    return jax.random.randint(choice_key, (), 0, num_choices), argument_key


def build_operations(magnitude: float, solarize_wraps: bool = False) -> dict[str, Operation]:
    """The 17 choices at one magnitude (0 to 10), by name; the key draws a sign or a place where one is needed.

    Solarize's threshold rises to 256 at magnitude 10, where it inverts nothing. With `solarize_wraps` it is a byte, as
    in the paper's repository: 256 becomes 0, and everything is inverted.
    """
    strength = magnitude / MAX_MAGNITUDE
    factor = 1.8 * strength + 0.1
    threshold = int(256 * strength) % 256 if solarize_wraps else int(256 * strength)

    def moving(matrix: Movement) -> Operation:
        return lambda image, key: warp(image, matrix(key, *image.shape[:2]))

    moves = {name: moving(matrix) for name, matrix in build_movements(magnitude).items()}
    return {
        "identity": lambda image, key: image,
        "auto_contrast": lambda image, key: auto_contrast(image),
        "equalize": lambda image, key: equalize(image),
        "invert": lambda image, key: 255 - image,
        "rotate": moves["rotate"],
        "posterize": lambda image, key: posterize(image, int(4 * strength)),
        "solarize": lambda image, key: solarize(image, threshold),
        "solarize_add": lambda image, key: solarize_add(image, int(110 * strength)),
        "color": lambda image, key: color(image, factor),
        "contrast": lambda image, key: contrast(image, factor),
        "brightness": lambda image, key: _blend(jnp.zeros_like(image), image, factor),
        "sharpness": lambda image, key: sharpness(image, factor),
        "shear_x": moves["shear_x"],
        "shear_y": moves["shear_y"],
        "translate_x": moves["translate_x"],
        "translate_y": moves["translate_y"],
        "cutout": lambda image, key: cutout(image, key, int(40 * strength)),
    }


def build_movements(magnitude: float) -> dict[str, Movement]:
    """The operations that move pixels, as matrices for `warp`."""
    strength = magnitude / MAX_MAGNITUDE
    angle = math.radians(30 * strength)
    shear = 0.3 * strength
    shift = 100 * strength  # pixels, whatever the size of the image

    def matrix(*entries):
        return jnp.array(entries, jnp.float32).reshape(2, 3)

    return {
        "rotate": lambda key, *size: make_rotation(_draw_sign(key) * angle, *size),
        "shear_x": lambda key, *_: matrix(1, _draw_sign(key) * shear, 0, 0, 1, 0),
        "shear_y": lambda key, *_: matrix(1, 0, 0, _draw_sign(key) * shear, 1, 0),
        "translate_x": lambda key, *_: matrix(1, 0, _draw_sign(key) * shift, 0, 1, 0),
        "translate_y": lambda key, *_: matrix(1, 0, 0, 0, 1, _draw_sign(key) * shift),
    }


def auto_contrast(image: jax.Array) -> jax.Array:
    """Stretches each channel linearly: its darkest pixel becomes 0 and its brightest 255; flat channels stay."""
    values = image.astype(jnp.int32)
    low, high = values.min((0, 1), keepdims=True), values.max((0, 1), keepdims=True)
    stretched = (values - low) * 255 // jnp.maximum(high - low, 1)
    return jnp.where(high > low, stretched, values).astype(jnp.uint8)


def equalize(image: jax.Array) -> jax.Array:
    """Flattens each channel's histogram, by PIL's definition.

    A value v becomes (number of darker pixels + step // 2) // step, at most 255. The step is a 255th of all pixels
    except those of the brightest value; step 0 leaves the channel as it is.
    """
    values = image.astype(jnp.int32)
    channels = jnp.arange(image.shape[-1])
    histogram = _histogram(values)
    brightest = histogram[channels, values.max((0, 1))]
    step = ((values.shape[0] * values.shape[1] - brightest) // 255)[:, None]
    darker = jnp.cumsum(histogram, axis=1) - histogram
    table = jnp.minimum((darker + step // 2) // jnp.maximum(step, 1), 255)
    table = jnp.where(step > 0, table, jnp.arange(256)[None, :])
    return table[channels, values].astype(jnp.uint8)


def _histogram(values: jax.Array) -> jax.Array:
    """How often each of 256 values occurs in each channel of int32 [height, width, channels]: int32 [channels, 256]."""
    # On a CPU a scatter into the bins is the fastest. On an accelerator it adds one by one, and comparing every pixel
    # with every value costs nothing.
    if jax.default_backend() == "cpu":
        channels = jnp.arange(values.shape[-1])
        return jnp.zeros((values.shape[-1], 256), jnp.int32).at[channels, values].add(1)
    return jnp.sum(values[..., None] == jnp.arange(256)[None, None, None], axis=(0, 1), dtype=jnp.int32)


def posterize(image: jax.Array, bits: int) -> jax.Array:
    """Keeps the upper `bits` bits of each value; at least one, as TensorFlow clamps the shift to 7."""
    shift = min(8 - bits, 7)
    return image >> shift << shift


def solarize(image: jax.Array, threshold: int) -> jax.Array:
    """Inverts values at or above the threshold; 256 inverts nothing."""
    return jnp.where(image.astype(jnp.int32) < threshold, image, 255 - image)


def solarize_add(image: jax.Array, addition: int) -> jax.Array:
    """Adds to the values below 128, up to 255."""
    added = jnp.minimum(image.astype(jnp.int32) + addition, 255).astype(jnp.uint8)
    return jnp.where(image < 128, added, image)


def color(image: jax.Array, factor: float) -> jax.Array:
    """Multiplies the saturation by `factor`: a blend with the grey image. Images of one channel stay as they are."""
    if image.shape[-1] == 1:
        return image
    red, green, blue = jnp.moveaxis(image.astype(jnp.float32), -1, 0)
    # TensorFlow's weights and rounding: it scales [0, 1] to bytes by 255.5 and truncates.
    luma = (0.2989 * red + 0.5870 * green + 0.1140 * blue) * (255.5 / 255)
    grey = jnp.broadcast_to(luma.astype(jnp.uint8)[..., None], image.shape)
    return _blend(grey, image, factor)


def contrast(image: jax.Array, factor: float) -> jax.Array:
    """Multiplies the distance from a uniform grey by `factor`.

    The grey should be the mean luma. The original sums the histogram's counts instead, which makes it a 256th of the
    number of pixels, at most 255: 5 at 36 x 36, 196 at 224 x 224. Kept, because the paper's runs had it.
    """
    height, width, _ = image.shape
    grey = min(height * width // 256, 255)
    return _blend(jnp.full_like(image, grey), image, factor)


def sharpness(image: jax.Array, factor: float) -> jax.Array:
    """Multiplies the distance from the smoothed image by `factor`; the border of one pixel stays as it is.

    The smooth value is the mean over 3 x 3 pixels, the centre counted five times.
    """
    values = image.astype(jnp.int32)
    height, width, _ = image.shape
    neighbourhood = sum(values[i : height - 2 + i, j : width - 2 + j] for i in range(3) for j in range(3))
    smooth = (neighbourhood + 4 * values[1:-1, 1:-1]) // 13
    return _blend(image.at[1:-1, 1:-1].set(smooth.astype(jnp.uint8)), image, factor)


def make_rotation(angle: jax.Array, height: int, width: int) -> jax.Array:
    """The matrix of a rotation about the image's centre by `angle` radians."""
    x, y = (width - 1) / 2, (height - 1) / 2
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.stack([cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y]).reshape(2, 3)


def warp(image: jax.Array, matrix) -> jax.Array:
    """Moves pixels: the output at (x, y) is the input pixel nearest to matrix @ (x, y, 1); the matrix is [2, 3].

    Outside its borders the image continues as its mirror image, with the edge pixel repeated.
    """
    height, width, _ = image.shape
    x = jnp.arange(width, dtype=jnp.float32)[None, :]
    y = jnp.arange(height, dtype=jnp.float32)[:, None]
    source_x, source_y = (a * x + b * y + c for a, b, c in matrix)
    return image[_mirror_index(source_y, height), _mirror_index(source_x, width)]


def cutout(image: jax.Array, key: jax.Array, half_side: int) -> jax.Array:
    """A grey (128) square of side 2 * half_side around a uniform pixel, cut off at the border."""
    height, width, _ = image.shape
    y, x = jax.random.randint(key, (2,), 0, jnp.array([height, width]))
    rows, columns = jnp.arange(height)[:, None] - y, jnp.arange(width)[None, :] - x
    inside = (-half_side <= rows) & (rows < half_side) & (-half_side <= columns) & (columns < half_side)
    return jnp.where(inside[..., None], jnp.uint8(128), image)


def _mirror_index(position, length):
    """Index of the pixel at `position` (pixel centres at whole numbers) in an image mirrored at both of its edges."""
    from_edge = jnp.mod(position + 0.5, 2 * length)
    return jnp.minimum(jnp.minimum(from_edge, 2 * length - from_edge).astype(jnp.int32), length - 1)


def _blend(degenerate, image, factor):
    """The point `factor` on the line from the degenerate image (0) to the image (1), clipped and truncated."""
    degenerate = degenerate.astype(jnp.float32)
    blended = degenerate + factor * (image.astype(jnp.float32) - degenerate)
    return jnp.clip(blended, 0, 255).astype(jnp.uint8)


def _draw_sign(key):
    return jnp.where(jax.random.bernoulli(key), 1.0, -1.0)
