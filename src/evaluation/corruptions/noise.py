"""Noise that is drawn for every value of an image by itself, its three channels included."""

import numpy as np

from evaluation.corruptions.pixels import Generators, levels, unit


def gaussian_noise(images: np.ndarray, generators: Generators, deviation: float) -> np.ndarray:
    """Adds a normal variable of this standard deviation (white is 1)."""
    return levels(unit(images) + deviation * _normal(images, generators))


def shot_noise(images: np.ndarray, generators: Generators, photons: float) -> np.ndarray:
    """Counts photons: Poisson(x · photons) / photons, where white expects `photons` of them."""
    rates = unit(images) * photons
    counts = np.stack([generator.poisson(rate) for rate, generator in zip(rates, generators, strict=True)])
    return levels(counts / photons)


def impulse_noise(images: np.ndarray, generators: Generators, share: float) -> np.ndarray:
    """Replaces this share of the values by 0 or 255, either with the same chance."""
    draws = np.stack([generator.random(images.shape[1:], np.float32) for generator in generators])
    return np.where(draws < share / 2, np.uint8(0), np.where(draws < share, np.uint8(255), images))


def speckle_noise(images: np.ndarray, generators: Generators, deviation: float) -> np.ndarray:
    """Multiplies by 1 + a normal variable of this standard deviation."""
    values = unit(images)
    return levels(values + values * deviation * _normal(images, generators))


def _normal(images: np.ndarray, generators: Generators) -> np.ndarray:
    return np.stack([generator.standard_normal(images.shape[1:], np.float32) for generator in generators])
