"""monitor: a training step in PyTorch with `gwa.torch.AlignmentMonitor` and without it, wall-clock and CPU time.

On a machine that others use too, look at CPU time on one thread (OMP_NUM_THREADS=1).
"""

from __future__ import annotations

import copy

import torch

from benchmarks.comparison import Comparison, Options, compare, time_cpu, time_program
from benchmarks.torch_twins import build_twins, make_step
from gwa.torch import AlignmentMonitor

BATCH = 64


def measure(options: Options) -> list[Comparison]:
    """Two comparisons per network."""
    comparisons = []
    for name, model in build_twins().items():
        monitored = copy.deepcopy(model)
        monitor = AlignmentMonitor(monitored, "classifier", num_examples=BATCH)
        steps = {"without": make_step(model, BATCH), "with the monitor": make_step(monitored, BATCH, monitor)}
        title = f"a step of {name} on {BATCH} images, {torch.get_num_threads()} threads"
        for clock, unit in ((time_program, "ms"), (time_cpu, "ms of CPU time")):
            ways = {way: clock(step) for way, step in steps.items()}
            comparisons.append(compare(title, ways, options.rounds, unit))
    return comparisons
