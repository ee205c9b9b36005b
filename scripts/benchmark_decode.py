"""Times our training crop against plain Pillow and OpenCV pipelines on a folder of JPEGs, as a Markdown table.

uv run scripts/benchmark_decode.py <folder> [--pairs=15]

CPU time on one core, after the files are read; all pipelines take the same windows of the same images. Pillow decodes,
crops and resizes (bilinear, which antialiases); OpenCV decodes the whole image, crops and resizes, with INTER_LINEAR,
or with INTER_AREA where that shrinks. Crops per second are of the fastest round, ratios of times are medians over the
rounds with their quartiles, and the last column is the mean difference from Pillow's pixels, of 255.
"""

import functools
import io
import pathlib
import time

import cv2
import numpy as np
from PIL import Image

import repository  # noqa: F401  (it puts our packages first on Python's path)

import command_line
from datasets.feeds.decoding import TRIES, crop_for_training, decode, draw_window
from datasets.feeds.jpeg import read_header
from errors import UserError

SIZE, LEAST_AREA = 224, 0.05
GROUPS = {"about 500 px": (400, 700), "above 1000 px": (1000, 100_000)}
ENLARGED = range(1200, 2001, 100)  # longer sides


def main() -> None:
    """Prints the table; a mistake of the user's is one line and exit code 2."""
    parser = command_line.Parser(__doc__)
    parser.add_argument("folder", type=pathlib.Path, help="JPEGs, at any depth")
    parser.add_argument("--pairs", type=int, default=15, help="rounds over each group of images")
    arguments = parser.parse_args()
    images = group_images(arguments.folder)
    print("| images | pipeline | crops/s | its time / ours (quartiles) | from Pillow |")
    print("|---|---|--:|--:|--:|")
    for group, files in images.items():
        seconds = np.array([time_round(files, number) for number in range(arguments.pairs + 1)])[1:]
        reference = crop_all(PIPELINES["Pillow"], files)
        for column, (name, pipeline) in enumerate(PIPELINES.items()):
            low, median, high = np.quantile(seconds[:, column] / seconds[:, 0], [0.25, 0.5, 0.75])
            difference = np.abs(crop_all(pipeline, files) - reference).mean()
            rate = len(files) / seconds[:, column].min()
            ratio = f"{median:.2f} ({low:.2f} to {high:.2f})"
            print(f"| {len(files)} {group} | {name} | {rate:.0f} | {ratio} | {difference:.2f} |")


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


def time_round(files: list[bytes], number: int) -> list[float]:
    """CPU seconds of each pipeline for all files; every round begins with another pipeline."""
    seconds = dict.fromkeys(PIPELINES, 0.0)
    names = list(PIPELINES)
    for name in names[number % len(names) :] + names[: number % len(names)]:
        started = time.process_time()
        for row, data in enumerate(files):
            PIPELINES[name](data, np.random.default_rng((number, row)))
        seconds[name] = time.process_time() - started
    return list(seconds.values())


def crop_all(pipeline, files: list[bytes]) -> np.ndarray:
    """The crops of all files by one pipeline, float32 [files, size, size, 3]."""
    return np.stack([pipeline(data, np.random.default_rng(row)) for row, data in enumerate(files)]).astype(np.float32)


def crop_with_pillow(data: bytes, rng: np.random.Generator) -> np.ndarray:
    """Decodes to RGB, crops and resizes with antialiasing."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    top, left, height, width = draw_window(image.height, image.width, LEAST_AREA, rng.random((TRIES, 4)))
    window = image.crop((left, top, left + width, top + height))
    return np.asarray(window.resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def crop_with_opencv(data: bytes, rng: np.random.Generator, by_area: bool = False) -> np.ndarray:
    """Decodes the whole image to RGB, crops and resizes; by areas where both sides shrink, if `by_area`."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    top, left, height, width = draw_window(*image.shape[:2], LEAST_AREA, rng.random((TRIES, 4)))
    method = cv2.INTER_AREA if by_area and min(height, width) >= SIZE else cv2.INTER_LINEAR
    return cv2.resize(image[top : top + height, left : left + width], (SIZE, SIZE), interpolation=method)


PIPELINES = {
    "ours": lambda data, rng: crop_for_training(data, SIZE, LEAST_AREA, rng),
    "Pillow": crop_with_pillow,
    "OpenCV, linear": crop_with_opencv,
    "OpenCV, area": functools.partial(crop_with_opencv, by_area=True),
}


if __name__ == "__main__":
    command_line.run(main)
