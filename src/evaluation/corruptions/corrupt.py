"""Applies the corruptions of CIFAR-10-C and ImageNet-C to images, with their published parameters.

Source: Hendrycks & Dietterich 2019, "Benchmarking neural network robustness to common corruptions and perturbations",
with the parameters and the quirks of its published code. That code sets no seed, so its random numbers cannot be drawn
again: the definitions here are the same, the random numbers are not. Three things differ on purpose: frost is generated
(`frost_texture`), motion blur is computed here and not by ImageMagick (`blur.streak`), and images of ImageNet's size
are not compressed as JPEG afterwards.
"""

import concurrent.futures
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from errors import UserError
from evaluation.corruptions import CORRUPTIONS, blur, check_corruption, digital, pointwise, weather

_BLOCK_VALUES = 2**20  # numbers that a thread corrupts at once: small enough for the cache, large enough to pay off


class Corruption(NamedTuple):
    """A corruption and its parameters.

    Attributes:
      apply: `(images uint8 [n, side, side, 3], generators, *parameters) -> uint8` of the same shape, image by image.
      small: parameters at severity 1 to 5 for images below 64 pixels, as in CIFAR-10-C.
      large: the same for larger images, as in ImageNet-C.
    """

    apply: Callable[..., np.ndarray]
    small: Sequence[Any]
    large: Sequence[Any]


def _single(*values: float) -> list[tuple[float]]:
    return [(value,) for value in values]


DEFINITIONS = {
    "gaussian_noise": Corruption(
        pointwise.gaussian_noise, _single(0.04, 0.06, 0.08, 0.09, 0.10), _single(0.08, 0.12, 0.18, 0.26, 0.38)
    ),
    "shot_noise": Corruption(pointwise.shot_noise, _single(500, 250, 100, 75, 50), _single(60, 25, 12, 5, 3)),
    "impulse_noise": Corruption(
        pointwise.impulse_noise, _single(0.01, 0.02, 0.03, 0.05, 0.07), _single(0.03, 0.06, 0.09, 0.17, 0.27)
    ),
    "defocus_blur": Corruption(
        blur.defocus_blur,
        [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)],
        [(3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)],
    ),
    "glass_blur": Corruption(
        blur.glass_blur,
        [(0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)],
        [(0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)],
    ),
    "motion_blur": Corruption(
        blur.motion_blur,
        [(6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)],
        [(10, 3), (15, 5), (15, 8), (15, 12), (20, 15)],
    ),
    "zoom_blur": Corruption(
        blur.zoom_blur,
        [(1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)],
        [(1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)],
    ),
    "snow": Corruption(
        weather.snow,
        [
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ],
        [
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ],
    ),
    "frost": Corruption(
        weather.frost,
        [(1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)],
        [(1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)],
    ),
    "fog": Corruption(
        weather.fog,
        [(0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)],
        [(1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)],
    ),
    "brightness": Corruption(
        pointwise.brightness, _single(0.05, 0.1, 0.15, 0.2, 0.3), _single(0.1, 0.2, 0.3, 0.4, 0.5)
    ),
    "contrast": Corruption(pointwise.contrast, _single(0.75, 0.5, 0.4, 0.3, 0.15), _single(0.4, 0.3, 0.2, 0.1, 0.05)),
    "elastic_transform": Corruption(
        digital.elastic_transform,
        [(0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)],
        [(2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02)],
    ),
    "pixelate": Corruption(digital.pixelate, _single(0.95, 0.9, 0.85, 0.75, 0.65), _single(0.6, 0.5, 0.4, 0.3, 0.25)),
    "jpeg_compression": Corruption(digital.jpeg_compression, _single(80, 65, 58, 50, 40), _single(25, 18, 15, 10, 7)),
    "speckle_noise": Corruption(
        pointwise.speckle_noise, _single(0.06, 0.1, 0.12, 0.16, 0.2), _single(0.15, 0.2, 0.35, 0.45, 0.6)
    ),
    "gaussian_blur": Corruption(blur.gaussian_blur, _single(0.4, 0.6, 0.7, 0.8, 1), _single(1, 2, 3, 4, 6)),
    "spatter": Corruption(
        weather.spatter,
        [
            (0.62, 0.1, 0.7, 0.7, 0.5, False),
            (0.65, 0.1, 0.8, 0.7, 0.5, False),
            (0.65, 0.3, 1, 0.69, 0.5, False),
            (0.65, 0.1, 0.7, 0.69, 0.6, True),
            (0.65, 0.1, 0.5, 0.68, 0.6, True),
        ],
        [
            (0.65, 0.3, 4, 0.69, 0.6, False),
            (0.65, 0.3, 3, 0.68, 0.6, False),
            (0.65, 0.3, 2, 0.68, 0.5, False),
            (0.65, 0.3, 1, 0.65, 1.5, True),
            (0.67, 0.4, 1, 0.65, 1.5, True),
        ],
    ),
    "saturate": Corruption(
        pointwise.saturate,
        [(0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)],
        [(0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)],
    ),
}


def corrupt_images(
    images: np.ndarray, name: str, severity: int, seed: int = 0, rows: np.ndarray | None = None
) -> np.ndarray:
    """Corrupts each image; the random numbers depend on (seed, name, severity, row of the image) alone.

    Images below 64 pixels get the parameters of CIFAR-10-C, larger ones those of ImageNet-C. The parameters are meant
    for 32 and 224 pixels; at other sizes the elastic distortion and the cloud of fog scale with the image, but blur
    kernels do not.

    Args:
      images: uint8 `[N, side, side, 3]`, RGB, 32 pixels or more.
      name: one of CORRUPTIONS.
      severity: 1 to 5.
      seed: of all random numbers, 0 or more.
      rows: integers `[N]`, each image's row in its data set; 0 to N − 1 by default. With them, a part of a set is
        corrupted exactly as it is within the whole.

    Returns:
      uint8 of the same shape.

    Raises:
      UserError: for another name or severity, or other images.
    """
    check_corruption(name, severity)
    check_images(images)
    side = images.shape[1]
    parameters = (DEFINITIONS[name].small if side < 64 else DEFINITIONS[name].large)[severity - 1]
    rows = np.arange(len(images)) if rows is None else rows
    stream = [seed, 3, list(CORRUPTIONS).index(name), severity]
    corrupted = np.empty_like(images)

    def corrupt_block(block: slice) -> None:
        generators = (np.random.default_rng([*stream, row]) for row in rows[block].tolist())
        corrupted[block] = DEFINITIONS[name].apply(images[block], generators, *parameters)

    size = max(1, _BLOCK_VALUES // (side * side * 3))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(corrupt_block, (slice(start, start + size) for start in range(0, len(images), size))))
    return corrupted


def check_images(images: np.ndarray) -> None:
    """Refuses images that the corruptions are not defined for.

    Raises:
      UserError: for other types or shapes than `corrupt_images` takes.
    """
    square = images.ndim == 4 and images.shape[1] == images.shape[2] >= 32 and images.shape[3] == 3
    if images.dtype != np.uint8 or not square:
        raise UserError(
            f"images to corrupt are {images.dtype} {images.shape}; they must be uint8 [N, side, side, 3], RGB, with a "
            "side of at least 32 pixels"
        )
