"""growth: how cost grows with the batch, the classes, the training samples and the number of runs.

The score is compared with itself at the smallest batch and the fewest classes; the end of an epoch, with the summary of
its alignments, the search for two peaks and one for label issues, at the fewest samples; the tables at the fewest runs.
"""

from __future__ import annotations

import pathlib
import shutil
import tempfile
from collections.abc import Callable

import jax
import numpy as np

from repository import ROOT

from benchmarks.comparison import Comparison, Options, compare, time_program
from benchmarks.score import draw_batch
from gwa import find_label_issues, head_alignment
from gwa.moment_arithmetic import summarize_alignments
from reports.page import make_tables
from training.run.durable import write_json
from training.run.json_objects import read_object
from training.signals import two_peakedness

BATCHES = (16, 64, 256, 1024)  # of 192 features and 10 classes
CLASSES = (10, 100, 1000, 21_841)  # for 256 samples of 192 features
SAMPLES = (2_000, 50_000, 1_300_000)
RUNS = (1, 50, 500)
EPOCHS = 5  # that the search for label issues averages over


def measure(options: Options) -> list[Comparison]:
    """A comparison per quantity."""
    with tempfile.TemporaryDirectory() as scratch:
        ways: dict[str, dict[str, Callable[[], object]]] = {
            "the score, by batch": {f"{size} samples": _score(size, 10) for size in BATCHES},
            "the score, by classes": {f"{classes} classes": _score(256, classes) for classes in CLASSES},
            "the end of an epoch, by samples": {f"{size} samples": _end_epoch(size) for size in SAMPLES},
            "all tables, by runs": {f"{count} runs": _make_tables(pathlib.Path(scratch), count) for count in RUNS},
        }
        return [
            compare(title, {name: time_program(program) for name, program in programs.items()}, options.rounds)
            for title, programs in ways.items()
        ]


def _score(samples: int, classes: int) -> Callable[[], object]:
    arguments, score = draw_batch(samples, 192, classes), jax.jit(head_alignment)
    return lambda: score(*arguments)


def _end_epoch(samples: int) -> Callable[[], object]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, samples)
    alignments = rng.normal(0.1, 0.1, (EPOCHS, samples)).astype(np.float32)

    def end() -> None:
        summarize_alignments(alignments[-1])
        two_peakedness(alignments[-1])
        find_label_issues(alignments, labels)

    return end


def _make_tables(scratch: pathlib.Path, count: int) -> Callable[[], object]:
    """Of copies of one committed run that differ in their seed alone."""
    folder, source = scratch / str(count), ROOT / "results" / "digits"
    for seed in range(count):
        workdir = folder / f"digits_seed{seed}"
        shutil.copytree(source, workdir)
        write_json(workdir / "config.json", read_object(source / "config.json") | {"seed": seed})
    return lambda: make_tables(folder)
