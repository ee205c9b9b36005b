"""Blurs: defocus, frosted glass, motion, zoom and Gaussian."""

import cv2
import numpy as np

from evaluation.corruptions.operations import Generators, enlarge, smooth, to_float, to_uint8


def defocus_blur(images: np.ndarray, generators: Generators, radius: float, smoothing: float) -> np.ndarray:
    """Averages over a disk, whose rim is smoothed by a Gaussian of 3 × 3 pixels (5 × 5 for a radius above 8)."""
    del generators
    reach, size = (8, 3) if radius <= 8 else (int(radius), 5)
    offsets = np.arange(-reach, reach + 1)
    disk = (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(np.float32)
    kernel = cv2.GaussianBlur(disk / disk.sum(), (size, size), sigmaX=smoothing)
    return to_uint8(np.stack([cv2.filter2D(image, -1, kernel) for image in to_float(images)]))


def glass_blur(images: np.ndarray, generators: Generators, sigma: float, reach: int, repeats: int) -> np.ndarray:
    """Smooths, replaces each pixel by a random neighbour, `repeats` times, and smooths again.

    From the lower right to the upper left, each pixel at least `reach` from every edge takes the current value of a
    neighbour, whose offset lies in [-reach, reach) on both axes. The paper speaks of swapping the two, but the
    benchmark's code overwrites one before reading it, so the pixel is copied; and its loops begin one pixel nearer to
    the lower and right edges than to the other two.
    """
    count, side = images.shape[:2]
    inside = np.arange(reach + 1, side - reach + 1)
    flat = to_uint8(smooth(to_float(images), sigma)).reshape(count, side * side, 3)
    offsets = [generator.integers(-reach, reach, (repeats, 2, len(inside), len(inside))) for generator in generators]
    for down, right in np.moveaxis(np.stack(offsets), 0, 2):
        source = np.broadcast_to(np.arange(side * side).reshape(side, side), (count, side, side)).copy()
        source[:, inside[0] :, inside[0] :][:, : len(inside), : len(inside)] += down * side + right
        flat = np.take_along_axis(flat, _find_origins(source.reshape(count, -1))[..., None], axis=1)
    return to_uint8(smooth(to_float(flat.reshape(images.shape)), sigma))


def _find_origins(source: np.ndarray) -> np.ndarray:
    """Where each value comes from after all pixels have copied from `source` `[n, pixels]`, the last pixel first.

    A pixel whose source lies behind it copies what that one has copied before. Following these links to their end, in
    jumps of doubling length, gives the same as copying pixel by pixel.
    """
    link = np.where(source > np.arange(source.shape[1]), source, np.arange(source.shape[1]))
    while True:
        further = np.take_along_axis(link, link, axis=1)
        if np.array_equal(further, link):
            return np.take_along_axis(source, link, axis=1)
        link = further


def motion_blur(images: np.ndarray, generators: Generators, radius: int, sigma: float) -> np.ndarray:
    """Streaks the image in a random direction, up to 45° from the horizontal."""
    angles = [generator.uniform(-45, 45) for generator in generators]
    return np.stack([streak(image, radius, sigma, angle) for image, angle in zip(images, angles, strict=True)])


def streak(image: np.ndarray, radius: int, sigma: float, degrees: float) -> np.ndarray:
    """Does what ImageMagick's motion blur, which the benchmark calls, does to a uint8 image `[height, width(, 3)]`.

    A pixel becomes the weighted mean of those at distances i = 0, 1, ..., 2 · radius in the direction of the angle
    (clockwise, 0 points right), rounded to whole pixels. The weights are exp(−i² / 2 sigma²), one half of a bell curve.
    Edge pixels repeat beyond the edge, and the result is rounded to whole levels.
    """
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    angle = np.deg2rad(degrees)
    columns, rows = (np.ceil(steps * length - 0.5).astype(int) for length in (np.cos(angle), np.sin(angle)))
    left, top = columns.min(), rows.min()
    kernel = np.zeros((np.ptp(rows) + 1, np.ptp(columns) + 1))
    np.add.at(kernel, (rows - top, columns - left), weights / weights.sum())
    anchor = (int(-left), int(-top))
    return cv2.filter2D(image, -1, kernel, anchor=anchor, borderType=cv2.BORDER_REPLICATE)


def zoom_blur(images: np.ndarray, generators: Generators, end: float, step: float) -> np.ndarray:
    """Averages the image and its enlargements by 1, 1 + step, ... below `end`."""
    del generators
    pixels = to_float(images).astype(np.float32)
    factors = np.arange(1, end, step)
    total = pixels + sum(enlarge(pixels, factor) for factor in factors)
    return to_uint8(total / (len(factors) + 1))


def gaussian_blur(images: np.ndarray, generators: Generators, sigma: float) -> np.ndarray:
    """Smooths by a Gaussian of `sigma` pixels."""
    del generators
    return to_uint8(smooth(to_float(images), sigma))
