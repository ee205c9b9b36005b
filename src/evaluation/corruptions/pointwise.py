"""Noise and colours: corruptions that leave every pixel in its place. Noise is independent in each channel."""

import numpy as np

from evaluation.corruptions.operations import Generators, to_float, to_uint8


def gaussian_noise(images: np.ndarray, generators: Generators, deviation: float) -> np.ndarray:
    """Adds normal noise of this standard deviation (white is 1)."""
    return to_uint8(to_float(images) + deviation * _draw_normal(images, generators))


def shot_noise(images: np.ndarray, generators: Generators, photons: float) -> np.ndarray:
    """Counts photons: Poisson(x · photons) / photons, where white expects `photons` of them."""
    rates = to_float(images) * photons
    counts = np.stack([generator.poisson(rate) for rate, generator in zip(rates, generators, strict=True)])
    return to_uint8(counts / photons)


def impulse_noise(images: np.ndarray, generators: Generators, share: float) -> np.ndarray:
    """Replaces this share of the values by 0 or 255, with equal chance."""
    uniform = np.stack([generator.random(images.shape[1:], np.float32) for generator in generators])
    return np.where(uniform < share / 2, np.uint8(0), np.where(uniform < share, np.uint8(255), images))


def speckle_noise(images: np.ndarray, generators: Generators, deviation: float) -> np.ndarray:
    """Multiplies by 1 plus normal noise of this standard deviation."""
    values = to_float(images)
    return to_uint8(values + values * deviation * _draw_normal(images, generators))


def _draw_normal(images: np.ndarray, generators: Generators) -> np.ndarray:
    return np.stack([generator.standard_normal(images.shape[1:], np.float32) for generator in generators])


def brightness(images: np.ndarray, generators: Generators, addition: float) -> np.ndarray:
    """Adds to the value of HSV, the largest channel, up to 1; hue and saturation stay."""
    del generators
    pixels = to_float(images)
    value = pixels.max(axis=-1, keepdims=True)
    share = np.divide(pixels, value, out=np.ones_like(pixels), where=value > 0)
    return to_uint8(np.minimum(value + addition, 1) * share)


def contrast(images: np.ndarray, generators: Generators, factor: float) -> np.ndarray:
    """Multiplies the distance from the mean of the channel."""
    del generators
    pixels = to_float(images)
    mean = pixels.mean(axis=(1, 2), keepdims=True)
    return to_uint8((pixels - mean) * factor + mean)


def saturate(images: np.ndarray, generators: Generators, factor: float, addition: float) -> np.ndarray:
    """Maps the saturation s of HSV to s · factor + addition, clipped to [0, 1]; greys count as red."""
    del generators
    pixels = to_float(images)
    value = pixels.max(axis=-1, keepdims=True)
    chroma = value - pixels.min(axis=-1, keepdims=True)
    red = np.broadcast_to([0.0, 1.0, 1.0], pixels.shape).copy()
    below = np.divide(value - pixels, chroma, out=red, where=chroma > 0)
    saturation = np.divide(chroma, value, out=np.zeros_like(value), where=value > 0)
    return to_uint8(value * (1 - np.clip(saturation * factor + addition, 0, 1) * below))
