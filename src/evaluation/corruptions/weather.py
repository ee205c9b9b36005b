"""Weather: snow, frost, fog, and water or mud on the lens."""

import cv2
import numpy as np

from evaluation.corruptions import frost_texture
from evaluation.corruptions.blur import streak
from evaluation.corruptions.operations import Generators, enlarge, smooth, to_float, to_uint8


def snow(
    images: np.ndarray,
    generators: Generators,
    mean: float,
    deviation: float,
    zoom: float,
    threshold: float,
    radius: int,
    sigma: float,
    weight: float,
) -> np.ndarray:
    """Whitens the image by 1 − `weight` and adds flakes that fall in two opposite directions.

    Flakes are normal noise, enlarged by `zoom`, black below `threshold`, and streaked by `radius` and `sigma` in a
    direction up to 45° from vertical.
    """
    side = images.shape[1]
    pixels = to_float(images).astype(np.float32)
    grey = np.stack([cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in pixels])[..., None]
    whitened = weight * pixels + (1 - weight) * np.maximum(pixels, grey * 1.5 + 0.5)
    # Each image's noise comes before its angle, as both come from its own generator.
    samples = [(each.normal(mean, deviation, (side, side)), each.uniform(-135, -45)) for each in generators]
    flakes = enlarge(np.stack([noise for noise, _ in samples]), zoom)
    flakes = to_uint8(np.where(flakes < threshold, 0, flakes))
    streaked = [streak(layer, radius, sigma, angle) for layer, (_, angle) in zip(flakes, samples, strict=True)]
    layer = to_float(np.stack(streaked))[..., None]
    return to_uint8(whitened + layer + layer[:, ::-1, ::-1])


def frost(images: np.ndarray, generators: Generators, image_weight: float, frost_weight: float) -> np.ndarray:
    """Adds the image and a random part of a texture of frost (see `frost_texture`), each with its weight."""
    side = images.shape[1]
    textures = frost_texture.make_textures(side)
    covers = []
    for generator in generators:
        texture = textures[generator.integers(len(textures))]
        top, left = generator.integers(len(texture) - side, size=2)
        covers.append(texture[top : top + side, left : left + side])
    return np.clip(image_weight * images + frost_weight * np.stack(covers), 0, 255).astype(np.uint8)


def fog(images: np.ndarray, generators: Generators, amount: float, decay: float) -> np.ndarray:
    """Adds a fractal cloud in [0, amount], then scales so that no value exceeds the brightest of the image."""
    pixels = to_float(images)
    brightest = pixels.max(axis=(1, 2, 3), keepdims=True)
    cloud = _draw_plasma(images.shape[1], generators, decay)[..., None]
    return to_uint8((pixels + amount * cloud) * brightest / (brightest + amount))


def _draw_plasma(side: int, generators: Generators, decay: float) -> np.ndarray:
    """Draws fractal clouds in [0, 1], `[n, side, side]`, by the diamond-square method on a torus.

    They are cut out of maps whose side is the next power of two. A new point is the mean of the four around it plus
    w · U(−w, w); w begins at 100 and is divided by `decay` each time the step size halves.
    """
    size = 1 << (side - 1).bit_length()
    # One random number per point; the point (0, 0), from which the method starts, stays 0.
    noise = np.stack([generator.uniform(-1, 1, (size, size)) for generator in generators])
    clouds = np.zeros_like(noise)
    step, wobble = size, 100.0
    while step >= 2:
        half = step // 2
        corners = clouds[:, ::step, ::step]
        right, below = np.roll(corners, -1, axis=2), np.roll(corners, -1, axis=1)
        centres = (corners + right + below + np.roll(right, -1, axis=1)) / 4
        centres += wobble**2 * noise[:, half::step, half::step]
        clouds[:, half::step, half::step] = centres
        on_rows = (corners + right + centres + np.roll(centres, 1, axis=1)) / 4
        on_columns = (corners + below + centres + np.roll(centres, 1, axis=2)) / 4
        clouds[:, ::step, half::step] = on_rows + wobble**2 * noise[:, ::step, half::step]
        clouds[:, half::step, ::step] = on_columns + wobble**2 * noise[:, half::step, ::step]
        step, wobble = half, wobble / decay
    clouds -= clouds.min(axis=(1, 2), keepdims=True)
    return (clouds / clouds.max(axis=(1, 2), keepdims=True))[:, :side, :side]


def spatter(
    images: np.ndarray,
    generators: Generators,
    mean: float,
    deviation: float,
    sigma: float,
    threshold: float,
    strength: float,
    mud: bool,
) -> np.ndarray:
    """Puts drops of water or mud where smoothed normal noise exceeds a threshold.

    Mud covers the image where its mask, smoothed by `strength` pixels, is at least 0.8. Water adds light, up to
    `strength`.
    """
    side = images.shape[1]
    noise = np.stack([generator.normal(mean, deviation, (side, side)) for generator in generators])
    liquid = smooth(noise, sigma)
    liquid[liquid < threshold] = 0
    pixels = to_float(images)
    if mud:
        mask = smooth((liquid > threshold).astype(np.float32), strength)[..., None]
        mask[mask < 0.8] = 0
        return to_uint8(pixels * (1 - mask) + mask * np.array([63, 42, 20]) / 255)
    light = strength * np.stack([_draw_glints(layer) for layer in liquid])[..., None]
    return to_uint8(pixels + light * np.array([175, 238, 238]) / 255)


def _draw_glints(liquid: np.ndarray) -> np.ndarray:
    """The light that drops `[side, side]` in [0, 1] reflect, in [0, 1]: an emboss of the distance from their edges."""
    drops = (np.clip(liquid, 0, 1) * 255).astype(np.uint8)
    distance = cv2.distanceTransform(255 - cv2.Canny(drops, 50, 150), cv2.DIST_L2, 5)
    heights = cv2.equalizeHist(cv2.blur(np.minimum(distance, 20), (3, 3)).astype(np.uint8))
    emboss = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
    glints = drops * cv2.blur(cv2.filter2D(heights, cv2.CV_8U, emboss), (3, 3)).astype(np.float32)
    return glints / max(glints.max(), 1)
