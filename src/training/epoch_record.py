"""The record of an epoch: what training has shown, what evaluation measures after it, and what rules need besides."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from datasets import StreamedExamples
from datasets.feeds import ResidentFeed
from errors import UserError
from gwa.moment_arithmetic import reasons_of_nan, summarize_alignments
from parallel import devices
from parallel.processes import gather_from_all, run_on_main
from training.collector import Collector, EpochResult
from training.estimators import TEXTBOOK
from training.prepare import Setup
from training.run.records import nan_to_null
from training.run.session import Session
from training.signals import measure_dissent, two_peakedness
from training.state import TrainState


def evaluate_epoch(
    setup: Setup, run: Session, state: TrainState, epoch: int, result: EpochResult, collector: Collector
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Evaluates the network after an epoch; returns the record of the epoch, and what there is of each sample."""
    train_seconds, checkpoint_seconds = collector.seconds(), run.checkpoints.take_seconds()
    labels, predictions = setup.splits.train.labels, result.samples["prediction"]
    seen = predictions >= 0  # all but the images that could not be decoded
    if len(classes := np.unique(labels[seen])) < 2:
        of = f"only those of the class {setup.splits.class_names[classes[0]]!r}" if len(classes) else "none"
        raise UserError(
            f"of the {len(labels)} training images, {of} could be decoded; there must be some of two classes"
        )
    if not np.isfinite(result.means["loss"]):
        raise UserError(
            f"training cannot go on: the loss of epoch {epoch} is {result.means['loss']}; if it diverges, lower "
            "optimizer.learning_rate or set optimizer.clip_norm (what was saved before is kept)"
        )
    evaluation = start_evaluation(setup, state)  # so that the devices work while the host sums up the epoch
    changes, previous = None, run.last_predictions()
    if previous is not None:
        changes = int(np.sum(predictions != previous))
    dissent = {}
    if result.past is not None:
        dissent = measure_dissent(predictions, result.past, labels, result.samples.pop("dissent"))
    step = epoch * setup.steps_per_epoch
    further_samples, estimates = estimate(setup, state, epoch, result)
    record: dict[str, Any] = {
        "epoch": epoch,
        "step": step,
        "progress": epoch / setup.config.epochs,
        "train_loss": result.means["loss"],
        "train_accuracy": float(np.mean(predictions[seen] == labels[seen])),
        **summarize_alignments(result.samples["alignment"][seen]),
        "two_peakedness": two_peakedness(result.samples["alignment"][seen]),
        "prediction_changes": changes,
        "prediction_churn": None if changes is None else changes / len(labels),
        **dissent,
        **{name: result.means[name] for name in ("gradient_norm", "head_gradient_norm", "prediction_entropy")},
        "learning_rate": float(setup.schedule(step - 1)),
        **summarize_evaluation(evaluation),
        **measure_signals(setup, state, epoch),
    }
    record |= {"estimates": estimates} if estimates else {}
    reasons = reasons_of_nan(record)
    for name, value in record.items():  # JSON will hold null for these, too
        if isinstance(value, float) and not math.isfinite(value):
            reasons.setdefault(name, f"measured as {value}")
    record |= {"reasons": reasons} if reasons else {}
    record |= {
        "train_seconds": train_seconds - checkpoint_seconds,
        "feed_seconds": collector.waited,
        "checkpoint_seconds": checkpoint_seconds,  # of the epoch before, and of those within this one
        "seconds": collector.seconds(),
    }
    # What one process measures decides for all.
    return run_on_main(lambda: nan_to_null(record)), result.samples | further_samples


def start_evaluation(setup: Setup, state: TrainState) -> dict[str, list[Any] | None]:
    """Dispatches the evaluation on held-out and on test data, of the averaged parameters too.

    Returns:
      By split, with `ema_` before it for the averaged parameters: the sums over each block on the devices, or None
      without such data.
    """
    networks = {"": state.params} | ({} if state.ema is None else {"ema_": state.ema})
    return {
        prefix + split: _start_evaluation_of(setup, params, split) if split in setup.feeds else None
        for prefix, params in networks.items()
        for split in ("val", "test")
    }


def _start_evaluation_of(setup: Setup, params: Any, split: str) -> list[Any]:
    feed, results = setup.feeds[split], []
    for block in feed.read_in_order(devices.choose_eval_batch_size(setup.config.eval_batch_size, setup.mesh)):
        results.append(setup.evaluate(params, block.batches))
        feed.hold_back(results)
    return results


def summarize_evaluation(evaluation: Mapping[str, list[Any] | None]) -> dict[str, float | None]:
    """Loss and accuracy from what `start_evaluation` returns; None without such data.

    On test data, the accuracies on rows of even and of odd numbers let reports find the best epoch on one half and
    judge it on the other.
    """
    measured: dict[str, float | None] = {}
    for split, results in evaluation.items():
        fields = ("loss", "accuracy") + (("accuracy_even", "accuracy_odd") if split.endswith("test") else ())
        values = dict.fromkeys(fields) if results is None else _summarize(devices.fetch(results))
        measured |= {f"{split}_{field}": values[field] for field in fields}
    return measured


def _summarize(sums: list[dict[str, Any]]) -> dict[str, float]:
    total = {name: float(sum(block[name] for block in sums)) for name in sums[0]}
    even, odd = total["even_count"], total["count"] - total["even_count"]
    return {
        "loss": total["loss"] / total["count"],
        "accuracy": total["correct"] / total["count"],
        "accuracy_even": total["even_correct"] / even if even else math.nan,
        "accuracy_odd": (total["correct"] - total["even_correct"]) / odd if odd else math.nan,
    }


def measure_signals(setup: Setup, state: TrainState, epoch: int) -> dict[str, float]:
    """What the rules need beyond what training shows by itself, and the seconds that each measurement took."""
    measured = {}
    for name, (measure, batches) in setup.measurements.items():
        started = time.perf_counter()
        block = next(setup.feeds["train"].read_epoch(epoch, setup.batch_size, batches))
        number = devices.place(np.int32(epoch), devices.replicated_sharding(setup.mesh))
        measured[name] = float(measure(state, block.batches, number))
        measured[f"{name}_seconds"] = time.perf_counter() - started
    return measured


def estimate(
    setup: Setup, state: TrainState, epoch: int, result: EpochResult
) -> tuple[dict[str, np.ndarray], dict[str, dict[str, float]]]:
    """The further estimates of the alignments that the config names: of each sample, and their GWA with its parts."""
    samples: dict[str, np.ndarray] = {}
    estimates: dict[str, dict[str, float]] = {}
    feed = setup.feeds["train"]
    if isinstance(feed, ResidentFeed):
        samples, estimates = setup.estimators.measure(state, feed.data, epoch)
    if TEXTBOOK in result.samples:
        estimates[TEXTBOOK] = summarize_alignments(result.samples[TEXTBOOK][result.samples["prediction"] >= 0])
    return samples, estimates


def describe_run(setup: Setup, run: Session, state: TrainState) -> dict[str, Any]:
    """What the summary says of data and network."""
    train, predictions, cleaning = setup.splits.train, run.last_predictions(), setup.splits.cleaning
    skipped = [name for feed in setup.feeds.values() for name in feed.skipped]
    if isinstance(train, StreamedExamples) and predictions is not None:  # these tell what an earlier start skipped
        skipped += [train.encoded.name(row) for row in train.rows[predictions < 0].tolist()]
    names = sorted(set().union(*gather_from_all(skipped)))
    wrong = None if train.clean_labels is None else float(np.mean(train.labels != train.clean_labels))
    return {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        "image_shape": list(train.image_shape),
        **{f"{split}_examples": len(getattr(setup.splits, split) or ()) for split in ("train", "val", "test")},
        "skipped_count": len(names),
        "skipped_images": names,
        "wrong_label_share": wrong,
        **({} if cleaning is None else {"cleaning": dataclasses.asdict(cleaning)}),
    }
