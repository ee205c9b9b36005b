"""Compiles the programs of the first epoch side by side, before its first step.

Otherwise each is compiled when it is called first. On the paper's networks and a GPU, evaluation and two measurements
take as long to compile as the training step does.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from datasets.feeds import ResidentFeed
from parallel import devices
from training.prepare import Setup
from training.state import TrainState
from training.step import Running, block_numbers


def compile_programs(setup: Setup, state: TrainState) -> None:
    """Compiles training, evaluation and the measurements; what cannot be compiled fails when it is called.

    Nothing is done on CPUs, where one program keeps all cores busy; nor in several processes, which XLA coordinates,
    one program at a time; nor for streamed sets, a batch of which must be read from disk.
    """
    if not _pays(setup):
        return
    with ThreadPoolExecutor() as pool:  # XLA compiles without Python's lock
        for program, arguments in list_programs(setup, state):
            pool.submit(lambda program, arguments: program.lower(*arguments).compile(), program, arguments)


def _pays(setup: Setup) -> bool:
    resident = all(isinstance(feed, ResidentFeed) for feed in setup.feeds.values())
    return jax.default_backend() != "cpu" and jax.process_count() == 1 and resident


def list_programs(setup: Setup, state: TrainState) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """The programs, and arguments such as the first epoch calls them with."""
    steps = setup.steps_per_dispatch
    for count in filter(None, (steps, setup.steps_per_epoch % steps)):
        yield setup.train_block, (state, *arguments_of_block(setup, count))
    size = devices.choose_eval_batch_size(setup.config.eval_batch_size, setup.mesh)
    for split in ("val", "test"):
        if split in setup.feeds:
            yield setup.evaluate, (state.params, next(iter(setup.feeds[split].read_in_order(size))).batches)
    number = devices.place(np.int32(1), devices.replicated_sharding(setup.mesh))
    for measure, batches in setup.measurements.values():
        block = next(iter(setup.feeds["train"].read_epoch(1, setup.batch_size, batches)))
        yield measure, (state, block.batches, number)


def arguments_of_block(setup: Setup, count: int) -> tuple[Any, ...]:
    """The arguments of `train_block` behind the state, in a dispatch of `count` steps at the beginning of a run."""
    everywhere = devices.replicated_sharding(setup.mesh)
    past = np.full(len(setup.splits.train.labels), -1, np.int32)
    votes = (devices.place(past, everywhere),) if setup.needs_past else ()
    batches, _ = next(iter(setup.feeds["train"].read_epoch(1, setup.batch_size, setup.steps_per_dispatch)))
    numbers = block_numbers(count, 1, setup.mesh)
    return (devices.place(Running.start(), everywhere), batches, *numbers, *votes)
