"""Compiles what runs after the first epoch while that epoch's own program is compiled and runs.

The compiled programs land in the cache of `parallel.devices.enable_compilation_cache`, where training finds them. On
the paper's networks and a GPU, evaluation and two measurements take about as long to compile as the training step.
"""

import threading
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from datasets.feeds import ResidentFeed
from parallel import devices
from training.prepare import Setup
from training.state import TrainState


def start(setup: Setup, state: TrainState) -> None:
    """Compiles in threads of their own; a process ends only after them.

    Nothing is done on CPUs, where compiling and training need the same cores; nor in several processes, which XLA lets
    agree on how to compile, one program after the other; nor for streamed sets, a batch of which must be read from
    disk.
    """
    resident = all(isinstance(feed, ResidentFeed) for feed in setup.feeds.values())
    if jax.default_backend() == "cpu" or jax.process_count() > 1 or not resident:
        return
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), state)
    for program, arguments in list_programs(setup, shapes):
        threading.Thread(target=_compile, args=(program, arguments)).start()


def list_programs(setup: Setup, state: TrainState) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """The programs of evaluation and of the measurements, and arguments as `epoch_record` calls them with.

    The parameters and the state may be shapes with shardings.
    """
    size = devices.choose_eval_batch_size(setup.config.eval_batch_size, setup.mesh)
    for split in ("val", "test"):
        if split in setup.feeds:
            yield setup.evaluate, (state.params, next(iter(setup.feeds[split].read_in_order(size))).batches)
    number = devices.place(np.int32(1), devices.replicated_sharding(setup.mesh))
    for measure, batches in setup.measurements.values():
        block = next(iter(setup.feeds["train"].read_epoch(1, setup.batch_size, batches)))
        yield measure, (state, block.batches, number)


def _compile(program: Any, arguments: tuple[Any, ...]) -> None:
    try:
        program.lower(*arguments).compile()
    except Exception:  # the call after the epoch raises it again, where it can be told
        return
