"""What several corruptions do: convert between levels and floats, smooth, enlarge.

The benchmark computes on pixels in [0, 1]; at the end it multiplies by 255 and casts, which truncates.
"""

from collections.abc import Iterable

import numpy as np
from scipy import ndimage

Generators = Iterable[np.random.Generator]  # one per image, in order; corruptions without random numbers ask for none


def to_float(images: np.ndarray) -> np.ndarray:
    """From uint8 levels to float64 in [0, 1]."""
    return images / 255.0


def to_uint8(values: np.ndarray) -> np.ndarray:
    """From values in [0, 1] to uint8 levels: clips, and truncates as the benchmark's cast does."""
    return (np.clip(values, 0, 1) * 255).astype(np.uint8)


def smooth(images: np.ndarray, sigma: float) -> np.ndarray:
    """Smooths `[n, height, width, ...]` by a Gaussian that ends at 4 sigma; edge pixels repeat beyond the edge."""
    sigmas = (0.0, sigma, sigma) + (0.0,) * (images.ndim - 3)
    return ndimage.gaussian_filter(images, sigmas, mode="nearest", truncate=4.0)


def enlarge(images: np.ndarray, factor: float) -> np.ndarray:
    """Stretches the middle of each image `[n, side, side, ...]` linearly by `factor` and cuts it to the old side."""
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
