"""Frost, generated. The benchmark lays photographs of frosted panes over the images; they are not part of this code.

These textures stand in for them: feathers of ice that grow from random points until they meet, on a darker pane. They
are the same in every run. Accuracies under `frost` are therefore not comparable with published ones; records say
`generated frost`.
"""

import functools

import cv2
import numpy as np
from scipy import ndimage, spatial

NUM_TEXTURES = 5
_NUM_NUCLEI = 30
_SIDE = 600  # pixels, about that of the benchmark's photographs
_TINT = np.array([0.84, 0.93, 1.0])  # of ice, in red, green and blue


def textures(side: int) -> tuple[np.ndarray, ...]:
    """uint8 textures `[larger, larger, 3]` to cut squares of `side` pixels from.

    Below 64 pixels they are shrunk to a fifth, as the benchmark does with its photographs for CIFAR-10.
    """
    full = [_texture(index, max(_SIDE, 2 * side)) for index in range(NUM_TEXTURES)]
    if side >= 64:
        return tuple(full)
    return tuple(cv2.resize(texture, None, fx=0.2, fy=0.2, interpolation=cv2.INTER_AREA) for texture in full)


@functools.cache
def _texture(index: int, size: int) -> np.ndarray:
    generator = np.random.default_rng([5, index])
    bend_down, bend_right, haze, grain = (_smooth(generator, (size, size), sigma) for sigma in (20, 20, 60, 1))
    points = np.moveaxis(np.mgrid[:size, :size], 0, -1) + 5 * np.stack([bend_down, bend_right], axis=-1)
    nuclei = generator.uniform(0, size, (_NUM_NUCLEI, 2))
    distances, nearest = spatial.cKDTree(nuclei).query(points, k=2)
    away = points - nuclei[nearest[..., 0]]
    turns = np.arctan2(away[..., 0], away[..., 1]) / (2 * np.pi) + 0.5
    # Needles: around its nucleus the brightness varies fast with the direction, and slowly with the distance.
    needles = _smooth(generator, (_NUM_NUCLEI, 400, 40), (0, 1.2, 1.5))
    place = (nearest[..., 0], turns * 399, distances[..., 0] / size * 160)
    feathers = ndimage.map_coordinates(needles, place, order=1, mode="nearest")
    seams = np.exp(-(distances[..., 1] - distances[..., 0]) / 6)
    ice = 0.5 + 0.16 * feathers + 0.2 * seams + 0.14 * haze + 0.05 * grain
    return (np.clip(ice, 0, 1)[..., None] * _TINT * 255).astype(np.uint8)


def _smooth(generator: np.random.Generator, shape: tuple[int, ...], sigma: float | tuple[float, ...]) -> np.ndarray:
    """Smoothed normal noise of mean 0 and standard deviation 1."""
    noise = ndimage.gaussian_filter(generator.standard_normal(shape), sigma, mode="wrap")
    return (noise - noise.mean()) / noise.std()
