"""How many training crops the feed delivers from a folder of images, by threads and by worker processes, as a table.

uv run scripts/benchmark_feed.py <folder with a directory per class> [--batches=40] [--rounds=3]

Images per second are of whole passes after the first batch: the median over the rounds with their extremes, where the
settings alternate. The training process's own CPU time per image limits how much workers can deliver to it. The last
row shows where threads block one another, however many cores there are: 64 of them, with a decoder that only waits for
a millisecond and does not hold Python's lock.
"""

import contextlib
import pathlib
import time
from typing import Any
from unittest import mock

import cv2
import numpy as np
from ml_collections import ConfigDict

import repository  # noqa: F401  (it puts our packages first on Python's path)

import command_line
from datasets import folders
from datasets.examples import StreamedExamples
from datasets.feeds.order import BatchOrder
from datasets.feeds.stream import Stream, count_usable_cores

SIZE, BATCH = 224, 128


def main() -> None:
    """Prints the table; a mistake of the user's is one line and exit code 2."""
    parser = command_line.Parser(__doc__)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--batches", type=int, default=40, help=f"of {BATCH} crops, in a round")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    examples = folders.load(str(arguments.folder), SIZE).train
    examples = examples.take(np.resize(np.arange(len(examples)), arguments.batches * BATCH))
    cores = count_usable_cores()
    settings = {f"{count} thread(s)": {"threads": count} for count in sorted({1, cores})}
    settings |= {f"{count} worker(s)": {"workers": count} for count in sorted({1, cores})}
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in settings}
    for _ in range(arguments.rounds):
        for name, fields in settings.items():
            results[name].append(measure(examples, fields))
    with mock.patch.multiple(cv2, imdecode=_wait, resize=_return_crop, sepFilter2D=_return_crop):
        results["64 threads that wait"] = [measure(examples, {"threads": 64}) for _ in range(arguments.rounds)]
    print(f"| on {cores} cores | images/s | training process, µs of CPU time per image |")
    print("|---|--:|--:|")
    for name, measured in results.items():
        rates, cpu = zip(*measured, strict=True)
        print(f"| {name} | {np.median(rates):.0f} ({min(rates):.0f} to {max(rates):.0f}) | {np.median(cpu):.0f} |")


def measure(examples: StreamedExamples, fields: dict[str, int]) -> tuple[float, float]:
    """Images per second after the first batch, and microseconds of this process's CPU time per image."""
    stream = {"threads": 0, "workers": 0, "buffer": 2, "resize": 256, "damaged": "fail"} | fields
    config = ConfigDict({"dataset": {"stream": stream}, "augment": {"crop_area": 0.05, "crop_like_tensorflow": False}})
    order = BatchOrder(len(examples), BATCH, 1, seed=0)
    with contextlib.closing(Stream(examples, config).read(order, np.arange(BATCH), epoch=1, block=0)) as reading:
        next(reading)
        started, cpu = time.perf_counter(), time.process_time()
        for _ in range(len(order) - 1):
            next(reading)
        count = (len(order) - 1) * BATCH
        return count / (time.perf_counter() - started), 1e6 * (time.process_time() - cpu) / count


def _wait(*_: Any) -> np.ndarray:
    time.sleep(0.001)
    return np.broadcast_to(np.uint8(0), (2000, 2000, 3))


def _return_crop(*_: Any, **__: Any) -> np.ndarray:
    return np.broadcast_to(np.uint8(0), (SIZE, SIZE, 3))


if __name__ == "__main__":
    command_line.run(main)
