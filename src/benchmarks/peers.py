"""peers: a training step of `configs/cifar10_small.py` in PyTorch and as training dispatches it, on the same threads.

The networks have the same sizes, and the process keeps the memory that either frees. Ours also augments its images,
and computes the score.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.comparison import Comparison, Measure, Options, compare, time_program
from benchmarks.step import build_block
from benchmarks.torch_twins import build_twins, make_step
from planning.cost import DATA_SETS


def measure(options: Options) -> list[Comparison]:
    """A comparison per network."""
    comparisons = []
    for name, twin in build_twins().items():
        config = options.load_config(f"configs/cifar10_small.py:{name}")
        steps, data = config.steps_per_dispatch, DATA_SETS["cifar10"]
        ways = {
            "PyTorch": time_steps(make_step(twin, config.batch_size), 1),
            "ours, with the score": time_steps(build_block(config, data), steps),
        }
        title = f"a step of {name}, batch of {config.batch_size}, {torch.get_num_threads()} threads in PyTorch"
        comparisons.append(compare(title, ways, options.rounds))
    return comparisons


def time_steps(program: Callable[[], Any], steps: int) -> Measure:
    """Milliseconds of each of the steps that a program makes."""
    whole = time_program(program)
    return lambda: whole() / steps
