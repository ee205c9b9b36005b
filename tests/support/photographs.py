"""Real photographs, cut into images of the sizes that the corruptions are made for."""

import functools
import importlib.util
import io
import pathlib

import cv2
import numpy as np
from PIL import Image


@functools.cache
def read_samples():
    """The two photographs that come with scikit-learn, RGB of 640 x 427, without the seconds of its import."""
    folder = pathlib.Path(importlib.util.find_spec("sklearn").origin).parent / "datasets" / "images"
    return [Image.open(folder / name).convert("RGB") for name in ("china.jpg", "flower.jpg")]


@functools.cache
def photographs(side):
    """uint8 `[N, side, side, 3]`: eighteen small ones of 32 pixels, or two of 224."""
    squares = [np.asarray(image)[:, 100:520][:420] for image in read_samples()]
    if side == 224:
        return np.stack([cv2.resize(square, (224, 224), interpolation=cv2.INTER_AREA) for square in squares])
    small = [cv2.resize(square, (96, 96), interpolation=cv2.INTER_AREA) for square in squares]
    return np.stack([image[y : y + 32, x : x + 32] for image in small for y in (0, 32, 64) for x in (0, 32, 64)])


def encoded(image, kind="JPEG", **options):
    """The file of an image."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
