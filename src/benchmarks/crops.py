"""crops: our training crop against plain Pillow and OpenCV pipelines, on a folder of JPEGs.

CPU time, after the files are read; all pipelines take the same windows of the same images. Pillow decodes, crops and
resizes (bilinear, which antialiases); OpenCV decodes the whole image, crops and resizes, with INTER_LINEAR, or with
INTER_AREA where that shrinks. Beside each stands the mean difference from Pillow's pixels, of 255.
"""

from __future__ import annotations

import functools
import io
import itertools
import pathlib
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

from benchmarks.comparison import Comparison, Measure, Options, compare, time_cpu
from datasets.feeds.decoding import TRIES, crop_for_training, decode, draw_crop_window
from datasets.feeds.jpeg import read_header
from errors import UserError

SIZE, LEAST_AREA = 224, 0.05
GROUPS = {"about 500 px": (400, 700), "above 1000 px": (1000, 100_000)}
ENLARGED = range(1200, 2001, 100)  # longer sides

Pipeline = Callable[[bytes, np.random.Generator], np.ndarray]


def measure(options: Options) -> list[Comparison]:
    """A comparison per group of images."""
    comparisons = []
    for group, files in group_images(options.require_folder()).items():
        title = f"a training crop of {SIZE} px, {len(files)} JPEGs {group}"
        ways = {name: _time_crops(pipeline, files) for name, pipeline in PIPELINES.items()}
        further = {name: {"from Pillow": _differ_from_pillow(pipeline, files)} for name, pipeline in PIPELINES.items()}
        comparisons.append(compare(title, ways, options.rounds, "ms of CPU time a crop", further, uncounted=1))
    return comparisons


def group_images(folder: pathlib.Path) -> dict[str, list[bytes]]:
    """Groups the encoded images by their longer side, and adds enlarged ones of about 500 px."""
    headers = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and (header := read_header(data := path.read_bytes())):
            headers[data] = max(header.height, header.width)
    groups = {
        name: [data for data, side in headers.items() if low <= side < high] for name, (low, high) in GROUPS.items()
    }
    if not groups["about 500 px"]:
        raise UserError(f"{folder} holds no JPEG whose longer side is 400 to 700 pixels")
    sources = groups["about 500 px"][:50]
    enlarged = [resize(data, ENLARGED[number % len(ENLARGED)]) for number, data in enumerate(sources)]
    groups[f"enlarged to {ENLARGED[0]} to {ENLARGED[-1]} px"] = enlarged
    return {name: files for name, files in groups.items() if files}


def resize(data: bytes, side: int) -> bytes:
    """The image with its longer side at `side` pixels, as a JPEG of quality 90."""
    image = Image.fromarray(decode(data))
    scale = side / max(image.size)
    file = io.BytesIO()
    image.resize([round(length * scale) for length in image.size], Image.Resampling.BICUBIC).save(
        file, "JPEG", quality=90
    )
    return file.getvalue()


def _time_crops(pipeline: Pipeline, files: list[bytes]) -> Measure:
    """Every round draws other windows, and all pipelines the same ones."""
    rounds = itertools.count()

    def crop() -> None:
        number = next(rounds)
        for row, data in enumerate(files):
            pipeline(data, np.random.default_rng((number, row)))

    whole = time_cpu(crop)
    return lambda: whole() / len(files)


def _differ_from_pillow(pipeline: Pipeline, files: list[bytes]) -> float:
    """The mean absolute difference of the pixels, of 255."""
    return float(np.abs(crop_all(pipeline, files) - crop_all(crop_with_pillow, files)).mean())


def crop_all(pipeline: Pipeline, files: list[bytes]) -> np.ndarray:
    """The crops of all files by one pipeline, float32 [files, size, size, 3]."""
    return np.stack([pipeline(data, np.random.default_rng(row)) for row, data in enumerate(files)]).astype(np.float32)


def crop_with_pillow(data: bytes, rng: np.random.Generator) -> np.ndarray:
    """Decodes to RGB, crops and resizes with antialiasing."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    top, left, height, width = draw_crop_window(image.height, image.width, LEAST_AREA, rng.random((TRIES, 4)))
    window = image.crop((left, top, left + width, top + height))
    return np.asarray(window.resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def crop_with_opencv(data: bytes, rng: np.random.Generator, by_area: bool = False) -> np.ndarray:
    """Decodes the whole image to RGB, crops and resizes; by areas where both sides shrink, if `by_area`."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    assert image is not None
    top, left, height, width = draw_crop_window(image.shape[0], image.shape[1], LEAST_AREA, rng.random((TRIES, 4)))
    method = cv2.INTER_AREA if by_area and min(height, width) >= SIZE else cv2.INTER_LINEAR
    return cv2.resize(image[top : top + height, left : left + width], (SIZE, SIZE), interpolation=method)


PIPELINES: dict[str, Pipeline] = {
    "ours": lambda data, rng: crop_for_training(data, SIZE, LEAST_AREA, rng),
    "Pillow": crop_with_pillow,
    "OpenCV, linear": crop_with_opencv,
    "OpenCV, area": functools.partial(crop_with_opencv, by_area=True),
}
