"""Training, from a config to the summary of a run: Algorithm 1 of the paper."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import stop_requests
from datasets import Splits
from parallel import devices
from parallel.processes import is_main, run_on_main
from training import ahead
from training.collector import Collector, EpochResult
from training.epoch_record import describe_run, evaluate_epoch
from training.prepare import Setup, initialize, prepare
from training.run.restoring import has_checkpoint
from training.run.session import Session, open_run
from training.run.stored_state import check_finite
from training.selection import summarize
from training.state import TrainState
from training.step import block_numbers


def train(
    config: Any,
    workdir: pathlib.Path,
    overwrite: bool = False,
    at_end: Callable[[pathlib.Path, Splits], pathlib.Path | None] | None = None,
) -> dict[str, Any]:
    """Trains as the config says, continuing what the work directory holds unless `overwrite`; returns the summary.

    Args:
      config: of the run.
      workdir: where it is kept.
      overwrite: whether to start anew in a work directory that holds a run.
      at_end: writes the page of the run: called on process 0 with the work directory and the data, when the run is
        finished; returns the file.

    Raises:
      UserError: when the config asks for something impossible, or training diverges.
      Stopped: when a signal has asked for it; the same call continues.
    """
    with prepare(config) as setup:
        fresh = run_on_main(lambda: overwrite or not has_checkpoint(workdir))
        if run_on_main(lambda: overwrite and (workdir / "config.json").exists()):
            rehearse(setup)
        initial_state = initialize(setup, fresh)  # the last thing that a mistake in the config can make fail
        with open_run(setup, workdir, overwrite) as run:
            finished_epochs, state, collector = run.resume(initial_state)
            del initial_state  # a resumed run has another one, and two may not fit on the devices
            stop = setup.selection.replay(run.history)
            if not stop and finished_epochs < config.epochs:
                ahead.compile_programs(setup, state)
            for epoch in range(finished_epochs + 1, config.epochs + 1):
                if stop:
                    break
                state, result = train_epoch(setup, run, state, epoch, collector)
                with run.interruptible(epoch, state, collector):
                    record, samples = evaluate_epoch(setup, run, state, epoch, result, collector)
                improved, stop = setup.selection.update(record)
                collector = Collector()  # the next epoch's time begins here, with what it takes to save this one
                run.save_epoch(record, samples, state, improved)
                run.stop_if_asked(state)
            run.checkpoints.save_kept()
            stop_requests.defer(False)
            summary = summarize(config, setup.selection.best_epochs, run.history, describe_run(setup, run, state))
            if setup.test_sets:
                from evaluation.evaluate import evaluate_checkpoints

                evaluate_checkpoints(workdir, config, summary["rules"], setup.splits, setup.test_sets)
            run.finish(summary)
            if at_end and is_main():
                run.track_page(at_end(workdir, setup.splits))
    return summary


def rehearse(setup: Setup) -> None:
    """Makes the first updates and forgets them: what makes training impossible shows before a run is overwritten.

    Raises:
      UserError: when the parameters are not finite after them.
    """
    arguments = ahead.arguments_of_block(setup, setup.steps_per_dispatch)
    state, *_ = setup.train_block(initialize(setup, fresh=True), *arguments)
    check_finite(state.params)


def train_epoch(
    setup: Setup, run: Session, state: TrainState, epoch: int, collector: Collector
) -> tuple[TrainState, EpochResult]:
    """One pass over the training set, or the rest of it if the collector holds its first steps.

    What the steps show stays on the devices until the end, or until a checkpoint within the epoch is due.

    Raises:
      Stopped: when a signal has asked for it; then the epoch is saved as far as it has come.
    """
    everywhere, every = devices.replicated_sharding(setup.mesh), setup.config.checkpoint_steps
    feed, running = setup.feeds["train"], devices.place(collector.running(setup.splits.train.labels), everywhere)
    past = run.vote_on_past() if setup.needs_past else None
    votes = () if past is None else (devices.place(past, everywhere),)
    finished = collector.steps == setup.steps_per_epoch  # and the run was stopped before it was recorded
    steps = setup.steps_per_dispatch
    blocks = iter(()) if finished else feed.read_epoch(epoch, setup.batch_size, steps, done=collector.steps)
    for batches, count in collector.wait_for(blocks):
        numbers = block_numbers(count, epoch, setup.mesh)
        state, running, so_far, metrics = setup.train_block(state, running, batches, *numbers, *votes)
        due = every and collector.steps // every < (collector.steps + count) // every
        collector.add(batches, count, metrics, feed)
        run.progress.show_dispatch(epoch, count, so_far)
        if run.is_asked_to_stop():
            run.save_and_stop(epoch, state, collector)
        if due and collector.steps < setup.steps_per_epoch:
            step = (epoch - 1) * setup.steps_per_epoch + collector.steps
            run.checkpoints.save_resume(step, state, collector.fetch())
    return state, collector.result(len(setup.splits.train))._replace(past=past)
