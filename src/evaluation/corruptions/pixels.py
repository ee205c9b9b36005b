"""What the corruptions share: pixels as levels or as shares of white, common linear maps, and draws image by image.

Between its steps the benchmark holds pixels in [0, 1]; at the end it multiplies by 255 and casts, which truncates.
"""

from collections.abc import Iterable

import numpy as np
from scipy import ndimage

Generators = Iterable[np.random.Generator]  # one per image, in order; made only if they are asked for


def unit(images: np.ndarray) -> np.ndarray:
    """uint8 levels as float64 in [0, 1]."""
    return images / 255.0


def levels(values: np.ndarray) -> np.ndarray:
    """Values in [0, 1] as uint8 levels: clipped, and truncated as the benchmark's cast does."""
    return (np.clip(values, 0, 1) * 255).astype(np.uint8)


def gaussian(images: np.ndarray, sigma: float) -> np.ndarray:
    """Smooths `[n, height, width, ...]`; the edge pixel continues outside, and the kernel ends at 4 sigma."""
    sigmas = (0.0, sigma, sigma) + (0.0,) * (images.ndim - 3)
    return ndimage.gaussian_filter(images, sigmas, mode="nearest", truncate=4.0)


def enlarge(images: np.ndarray, factor: float) -> np.ndarray:
    """The middle of each image `[n, side, side, ...]`, stretched linearly by `factor` and cut to the old side."""
    side = images.shape[1]
    kept = int(np.ceil(side / factor))
    stretched = round(kept * factor)
    trimmed = (stretched - side) // 2
    # The outermost pixels of the middle part stay outermost.
    positions = (side - kept) // 2 + np.linspace(0, kept - 1, stretched)[trimmed : trimmed + side]
    lower = np.minimum(positions.astype(int), side - 2)
    for axis in (1, 2):
        share = (positions - lower).astype(images.dtype).reshape([-1 if i == axis else 1 for i in range(images.ndim)])
        images = np.take(images, lower, axis) * (1 - share) + np.take(images, lower + 1, axis) * share
    return images
