"""epoch: an epoch of the config as users run it, and without evaluation, against its bare steps.

Bare steps are the dispatches of the compiled training program, whose outputs are waited for at the end. An epoch
without evaluation also records scores, measures what the rules need, and writes records and checkpoints.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks.comparison import Comparison, Options, compare, time_program
from parallel import devices
from training.collector import Collector
from training.epoch_record import evaluate_epoch
from training.loop import train_epoch
from training.prepare import Setup, initialize, prepare
from training.run.session import open_run
from training.step import block_numbers


def measure(options: Options) -> list[Comparison]:
    """One comparison; the config has as many epochs as are measured, and one more."""
    config = options.load_config()
    config.epochs, config.report = options.rounds + 3, False
    with prepare(config) as setup, contextlib.ExitStack() as stack:
        only_training = dataclasses.replace(setup, feeds={"train": setup.feeds["train"]})
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        epochs = {
            "bare steps": dispatch_epochs(setup),
            "epoch without evaluation": run_epochs(only_training, folder / "without", stack),
            "epoch": run_epochs(setup, folder / "with", stack),
        }
        measures = {name: time_program(epoch) for name, epoch in epochs.items()}
        return [compare(f"an epoch of {options.config}", measures, options.rounds)]


def dispatch_epochs(setup: Setup) -> Callable[[], Any]:
    """A program that dispatches the steps of the next epoch."""
    feed = setup.feeds["train"]
    everywhere, labels = devices.replicated_sharding(setup.mesh), setup.splits.train.labels
    votes = (devices.place(np.full(len(labels), -1, np.int32), everywhere),) if setup.needs_past else ()
    state, epoch = initialize(setup, fresh=True), 0

    def run() -> Any:
        nonlocal state, epoch
        epoch += 1
        running = devices.place(Collector().running(labels), everywhere)
        for batches, count in feed.read_epoch(epoch, setup.batch_size, setup.steps_per_dispatch):
            numbers = block_numbers(count, epoch, setup.mesh)
            state, running, *_ = setup.train_block(state, running, batches, *numbers, *votes)
        return jax.tree.leaves(state.params)

    return run


def run_epochs(setup: Setup, workdir: pathlib.Path, stack: contextlib.ExitStack) -> Callable[[], Any]:
    """A program that makes the next epoch of a run in a work directory, as `training.loop.train` does."""
    run = stack.enter_context(open_run(setup, workdir, overwrite=False))
    epoch, state, _ = run.resume(initialize(setup, fresh=True))

    def make() -> Any:
        nonlocal epoch, state
        epoch, collector = epoch + 1, Collector()
        state, result = train_epoch(setup, run, state, epoch, collector)
        record, samples = evaluate_epoch(setup, run, state, epoch, result, collector)
        improved, _ = setup.selection.update(record)
        run.save_epoch(record, samples, state, improved)
        return jax.tree.leaves(state.params)

    return make
