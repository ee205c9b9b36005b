"""Corruptions of digital processing: elastic distortion, pixelation, JPEG compression."""

import functools

import cv2
import numpy as np
from scipy import ndimage

from evaluation.corruptions.operations import Generators, to_float, to_uint8


def elastic_transform(
    images: np.ndarray, generators: Generators, strength: float, sigma: float, corner_shift: float
) -> np.ndarray:
    """Applies a random affine map, then a smooth random displacement; lengths are shares of the side.

    The affine map moves three corners of a square in the middle by up to `corner_shift` on each axis. The displacement
    is uniform noise in [−1, 1), smoothed by `sigma` (up to 3 sigma, mirrored at the edges), times `strength`.
    """
    side = images.shape[1]
    # The benchmark's ImageNet constants are multiples of 244 pixels on images of 224.
    scale = side if side < 64 else side * 244 / 224
    smoothing = _smoothing_matrix(side, scale * sigma)
    middle, third = side // 2, side // 3
    corners = np.array([[third, third], [third, -third], [-third, -third]], np.float32) + middle
    rows, columns = np.mgrid[:side, :side]
    results = np.empty(images.shape)
    for image, result, generator in zip(to_float(images), results, generators, strict=True):
        moved = corners + generator.uniform(-scale * corner_shift, scale * corner_shift, (3, 2)).astype(np.float32)
        matrix = cv2.getAffineTransform(corners, moved)
        image = cv2.warpAffine(image, matrix, (side, side), borderMode=cv2.BORDER_REFLECT_101)
        right, down = scale * strength * (smoothing @ generator.uniform(-1, 1, (2, side, side)) @ smoothing.T)
        for channel in range(3):
            coordinates = (rows + down, columns + right)
            result[..., channel] = ndimage.map_coordinates(image[..., channel], coordinates, order=1, mode="reflect")
    return to_uint8(results)


@functools.cache
def _smoothing_matrix(side: int, sigma: float) -> np.ndarray:
    """The matrix that smooths a row of pixels, mirrored at its ends, by a Gaussian."""
    return ndimage.gaussian_filter(np.eye(side), (sigma, 0), mode="reflect", truncate=3)


def pixelate(images: np.ndarray, generators: Generators, share: float) -> np.ndarray:
    """Shrinks to this share of the side with Pillow's BOX filter, then enlarges again by repeating pixels."""
    del generators
    side = images.shape[1]
    small = int(side * share)
    # A box averages the pixels whose centres lie in it with equal weights; columns are rounded first, then rows.
    first = np.ceil(np.arange(small) * (side / small) - 0.5).astype(int)
    count = np.diff(first, append=side)[:, None]
    shrunk = images.astype(np.int64)
    for axis in (2, 1):
        total = np.moveaxis(np.add.reduceat(shrunk, first, axis), axis, -2)
        shrunk = np.moveaxis((2 * total + count) // (2 * count), -2, axis)
    nearest = ((np.arange(side) + 0.5) * (small / side)).astype(int)
    return shrunk[:, nearest][:, :, nearest].astype(np.uint8)


def jpeg_compression(images: np.ndarray, generators: Generators, quality: int) -> np.ndarray:
    """Compresses as JPEG of this quality, with chroma at half the resolution."""
    del generators
    sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    return np.stack([_recompress(image, options) for image in images])


def _recompress(image: np.ndarray, options: list[int]) -> np.ndarray:
    _, file = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    return np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR_RGB))
