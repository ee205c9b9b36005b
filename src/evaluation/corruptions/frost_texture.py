"""Textures of frost, generated. The benchmark overlays photographs of frosted panes, which are not part of this code.

These textures replace them: feathers of ice that grow from random points until they meet, on a darker pane. They are
the same in every run. Accuracies under `frost` cannot be compared with published ones, so results say that the frost
was generated.
"""

import functools
import threading

import cv2
import numpy as np
from scipy import ndimage, spatial

NUM_TEXTURES = 5
_NUM_NUCLEI = 30
_SIDE = 600  # pixels, about that of the benchmark's photographs
_LOCK = threading.Lock()  # one thread makes the textures while the others wait
_TINT = np.array([0.84, 0.93, 1.0])  # of ice, in red, green and blue


def make_textures(side: int) -> tuple[np.ndarray, ...]:
    """Makes five uint8 textures `[larger, larger, 3]`, out of which frost cuts squares of `side` pixels.

    Below 64 pixels they are shrunk to a fifth, as the benchmark shrinks its photographs for CIFAR-10.
    """
    with _LOCK:
        full = [_make_texture(index, max(_SIDE, 2 * side)) for index in range(NUM_TEXTURES)]
    if side >= 64:
        return tuple(full)
    return tuple(cv2.resize(texture, None, fx=0.2, fy=0.2, interpolation=cv2.INTER_AREA) for texture in full)


@functools.cache
def _make_texture(index: int, size: int) -> np.ndarray:
    generator = np.random.default_rng([5, index])
    bend_down, bend_right, haze, grain = (_draw_clouds(generator, size, scale) for scale in (60, 60, 200, 3))
    points = np.moveaxis(np.mgrid[:size, :size], 0, -1) + 5 * np.stack([bend_down, bend_right], axis=-1)
    nuclei = generator.uniform(0, size, (_NUM_NUCLEI, 2))
    distances, nearest = spatial.cKDTree(nuclei).query(points, k=2)
    away = points - nuclei[nearest[..., 0]]
    direction = np.arctan2(away[..., 0], away[..., 1]) / (2 * np.pi) + 0.5
    # Around its nucleus the brightness varies fast with the direction and slowly with the distance, like needles.
    needles = ndimage.gaussian_filter(generator.standard_normal((_NUM_NUCLEI, 400, 40)), (0, 1.2, 1.5), mode="wrap")
    needles /= needles.std()
    place = (nearest[..., 0], direction * 399, distances[..., 0] / size * 160)
    feathers = ndimage.map_coordinates(needles, place, order=1, mode="nearest")
    seams = np.exp(-(distances[..., 1] - distances[..., 0]) / 6)
    ice = 0.5 + 0.16 * feathers + 0.2 * seams + 0.14 * haze + 0.05 * grain
    return (np.clip(ice, 0, 1)[..., None] * _TINT * 255).astype(np.uint8)


def _draw_clouds(generator: np.random.Generator, size: int, scale: int) -> np.ndarray:
    """Draws smooth noise `[size, size]` of about unit variance, with features about `scale` pixels large."""
    coarse = generator.standard_normal((size // scale, size // scale))
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
