"""feed: how fast the feed delivers training crops from a folder of classes, by threads and by worker processes.

Milliseconds per image over whole passes after the first batch. Beside each stands the training process's own CPU time
per image, which limits how much workers can deliver to it. The last way shows where threads block one another, however
many cores there are: 64 of them, with a decoder that only waits for a millisecond and does not hold Python's lock.
"""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
import time
from typing import Any
from unittest import mock

import cv2
import numpy as np
from ml_collections import ConfigDict

from benchmarks.comparison import Comparison, Measure, Options, compare
from datasets import folders
from datasets.examples import StreamedExamples
from datasets.feeds.order import BatchOrder
from datasets.feeds.stream import Stream, count_usable_cores

SIZE, BATCH, BATCHES = 224, 128, 40


def measure(options: Options) -> list[Comparison]:
    """One comparison; the first way is one thread."""
    examples = folders.load(str(options.require_folder()), SIZE).train
    assert isinstance(examples, StreamedExamples)  # as dataset.feed is not resident
    examples = examples.take(np.resize(np.arange(len(examples)), BATCHES * BATCH))
    cores = count_usable_cores()
    settings = {f"{count} thread(s)": {"threads": count} for count in sorted({1, cores})}
    settings |= {f"{count} worker(s)": {"workers": count} for count in sorted({1, cores})}
    cpu: dict[str, list[float]] = {name: [] for name in settings}
    ways: dict[str, Measure] = {name: _measure(examples, fields, cpu[name]) for name, fields in settings.items()}
    ways["64 threads that wait"] = _wait_in_place_of_decoding(_measure(examples, {"threads": 64}, []))
    comparison = compare("the feed", ways, options.rounds, "ms an image", uncounted=0)
    own = {name: {"own CPU time, ms": statistics.median(times)} for name, times in cpu.items()}
    figures = {name: dataclasses.replace(way, further=own.get(name, {})) for name, way in comparison.ways.items()}
    return [dataclasses.replace(comparison, ways=figures)]


def _measure(examples: StreamedExamples, fields: dict[str, int], cpu: list[float]) -> Measure:
    """Milliseconds per image after the first batch; this process's CPU time per image is added to `cpu`."""
    stream = {"threads": 0, "workers": 0, "buffer": 2, "resize": 256, "damaged": "fail"} | fields
    config = ConfigDict({"dataset": {"stream": stream}, "augment": {"crop_area": 0.05, "crop_like_tensorflow": False}})
    order = BatchOrder(len(examples), BATCH, 1, seed=0)

    def read() -> float:
        reading = Stream(examples, config).read(order, np.arange(BATCH), epoch=1, block=0)
        with contextlib.closing(reading):
            next(reading)
            started, cpu_started = time.perf_counter(), time.process_time()
            for _ in range(len(order) - 1):
                next(reading)
            count = (len(order) - 1) * BATCH
            cpu.append(1e3 * (time.process_time() - cpu_started) / count)
            return 1e3 * (time.perf_counter() - started) / count

    return read


def _wait_in_place_of_decoding(measure: Measure) -> Measure:
    def read() -> float:
        with mock.patch.multiple(cv2, imdecode=_wait, resize=_return_crop, sepFilter2D=_return_crop):
            return measure()

    return read


def _wait(*_: Any) -> np.ndarray:
    time.sleep(0.001)
    return np.broadcast_to(np.uint8(0), (2000, 2000, 3))


def _return_crop(*_: Any, **__: Any) -> np.ndarray:
    return np.broadcast_to(np.uint8(0), (SIZE, SIZE, 3))
