"""peers: a training step of `configs/cifar10_small.py` in PyTorch and in JAX, with the score, on the same threads.

The networks have the same sizes. Ours also augments its images.
"""

from __future__ import annotations

import torch

from benchmarks.comparison import Comparison, Options, compare, time_program
from benchmarks.step import build_programs
from benchmarks.torch_twins import build_twins, make_step
from planning.cost import DATA_SETS


def measure(options: Options) -> list[Comparison]:
    """A comparison per network."""
    comparisons = []
    for name, twin in build_twins().items():
        config = options.load_config(f"configs/cifar10_small.py:{name}")
        programs, _ = build_programs(config, DATA_SETS["cifar10"], which=("with the score",))
        ways = {"PyTorch": make_step(twin, config.batch_size), "ours, with the score": programs["with the score"]}
        title = f"a step of {name}, batch of {config.batch_size}, {torch.get_num_threads()} threads in PyTorch"
        comparisons.append(compare(title, {way: time_program(step) for way, step in ways.items()}, options.rounds))
    return comparisons
