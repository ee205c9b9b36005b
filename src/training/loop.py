"""The epoch driver: Algorithm 1 of the paper, from the config to the summary of a run."""

from __future__ import annotations

import contextlib
import functools
import pathlib
import time
from typing import Any

import jax
import numpy as np

import datasets
import networks
from datasets import Splits, StreamedExamples
from datasets.feeds import ResidentFeed, open_feed
from datasets.feeds.augment import Augmentation
from errors import UserError
from evaluation import external, robustness
from gwa import Rule
from gwa.moments import reasons_of_nan
from parallel import devices
from parallel.processes import gather_from_all, is_main, run_on_main
from training import estimators, optimizer, signals
from training.collector import Collector, Epoch
from training.estimators import TEXTBOOK, summarize_alignments
from training.initial import from_pretrained
from training.offline import OfflineEstimators
from training.peaks import first_pronounced, two_peakedness
from training.run.checkpoints import Checkpoints, has_checkpoint
from training.run.progress import Progress
from training.run.records import Record, Records
from training.run.tracking import Tracking
from training.run.workdir import claim
from training.selection import Selection, summarize
from training.state import TrainState, create, shardings
from training.step import Recipe, evaluate, train_block


def train(config: Any, workdir: pathlib.Path, overwrite: bool = False) -> dict[str, Any]:
    """Trains as the config says, from where the work directory stands or anew, and returns the summary.

    Raises:
      UserError: when the config asks for something impossible, or training diverges.
    """
    for field, least in (("epochs", 1), ("eval_batch_size", 1), ("steps_per_dispatch", 1), ("checkpoint_steps", 0)):
        if config[field] < least:
            raise UserError(f"{field} is {config[field]}; it must be at least {least}")
    devices.enable_compilation_cache()
    mesh = devices.make_mesh()
    devices.check_batch_size(config.batch_size, config.optimizer.accumulation_steps, mesh)
    splits = datasets.build(config.dataset)
    corrupted_sets, external_sets = robustness.requested(config, splits), external.requested(config, splits)
    selection = Selection(config.stopping, splits)
    trainer = Trainer(config, splits, mesh, selection.rules)
    tracking = Tracking(config, workdir)
    initial_state = trainer.initial_state(fresh=run_on_main(lambda: overwrite or not has_checkpoint(workdir)))
    # Whatever may be wrong with the config has shown by now.
    with (
        contextlib.closing(trainer),
        claim(workdir, config, overwrite),
        Checkpoints(workdir, selection.names) as checkpoints,
        tracking,
    ):
        records = Records(workdir)
        last_epoch, state, begun = checkpoints.resume(initial_state, trainer.steps_per_epoch)
        collector = Collector(begun)
        records.truncate(last_epoch)
        records.write_labels(splits)
        stop = selection.replay(records.history)
        steps = last_epoch * trainer.steps_per_epoch + collector.steps
        if is_main():
            print(devices.describe_batch(config.batch_size, mesh) + (f"; goes on after step {steps}" if steps else ""))
        with Progress(config.epochs, trainer.steps_per_epoch, steps) as progress:
            for epoch in range(last_epoch + 1, config.epochs + 1):
                if stop:
                    break
                state, result = trainer.train_epoch(state, epoch, collector, progress, checkpoints)
                training_seconds = collector.seconds()
                result = trainer.estimate(state, epoch, result)
                record = trainer.record(state, epoch, result, records.last_predictions())
                record |= {"train_seconds": training_seconds, "feed_seconds": collector.waited}
                record["seconds"] = collector.seconds()
                record = run_on_main(functools.partial(dict, record))  # what one process measures decides for all
                improved, stop = selection.update(record)
                for rule in improved:
                    checkpoints.save_best(rule, epoch, state.params)
                records.append(record, result.samples)
                checkpoints.save_latest(record["step"], state)
                tracking.log(records.history[-1])
                progress.finished_epoch(records.history[-1])
                if epoch == first_pronounced(records.history, config.stopping.warmup):
                    progress.warn(f"epoch {epoch}: the alignments begin to have two peaks; their GWA says little then")
                collector = Collector()

        summary = summarize(config, selection, records.history, trainer.facts(state, records.last_predictions()))
        for name, corrupted in corrupted_sets.items():
            robustness.measure(workdir, config, summary["rules"], splits, name, corrupted)
        for name, test_set in external_sets.items():
            external.measure(workdir, config, summary["rules"], splits, name, test_set)
        tracking.summarize(summary)
        records.write_summary(summary)
    return summary


class Trainer:
    """The data on the device and the compiled programs that work on them."""

    def __init__(self, config: Any, splits: Splits, mesh: jax.sharding.Mesh, rules: list[Rule]):
        self._config, self._splits, self._mesh = config, splits, mesh
        self._everywhere = devices.replicated_sharding(mesh)
        self.steps_per_epoch = -(-len(splits.train) // config.batch_size)
        self._model = networks.build(config.network, len(splits.class_names))
        networks.check_contract(self._model, splits.train.image_shape, len(splits.class_names))
        self._optimizer, self._schedule = optimizer.build(config.optimizer, config.epochs * self.steps_per_epoch)
        if isinstance(splits.train, StreamedExamples) and set(config.estimators) - {TEXTBOOK}:
            raise UserError(f"estimators is {config.estimators}; with dataset.feed=stream only {TEXTBOOK} can be had")
        augmentation = Augmentation.from_config(config.augment)
        augmentation.check_size(*splits.train.image_shape[:2])
        if not 0 <= config.loss.label_smoothing < 1:
            raise UserError(f"loss.label_smoothing is {config.loss.label_smoothing}; it must be a share in [0, 1)")
        recipe = Recipe(
            model=self._model,
            optimizer=self._optimizer,
            augmentation=augmentation,
            num_classes=len(splits.class_names),
            label_smoothing=config.loss.label_smoothing,
            accumulation_steps=config.optimizer.accumulation_steps,
            textbook_dtype=config.network.compute_dtype if TEXTBOOK in estimators.check(config.estimators) else None,
        )
        self._estimators = OfflineEstimators(config.estimators, recipe, config, splits.train.image_shape, mesh)
        self._measures = signals.build_measurements(rules, recipe, self.steps_per_epoch)
        shape = splits.train.image_shape
        self._shardings = shardings(self._model, self._optimizer, shape, mesh, config.sharding)
        outputs = (self._shardings, self._everywhere, self._everywhere, None)
        self._train_block = jax.jit(
            functools.partial(train_block, recipe), donate_argnums=(0, 1), out_shardings=outputs
        )
        self._evaluate = jax.jit(functools.partial(evaluate, self._model))
        self._feeds = {
            name: open_feed(examples, config, mesh)
            for name, examples in (("train", splits.train), ("val", splits.val), ("test", splits.test))
            if examples is not None
        }

    def initial_state(self, fresh: bool) -> TrainState:
        """The state before the first epoch; pretrained weights are read only where training begins with it."""
        shape = self._splits.train.image_shape
        state = create(self._model, self._optimizer, shape, self._config.seed, self._shardings)
        return from_pretrained(state, self._config, self._model) if fresh else state

    def close(self) -> None:
        """Ends what reads in the background."""
        for feed in self._feeds.values():
            feed.close()

    def train_epoch(
        self, state: TrainState, epoch: int, collector: Collector, progress: Progress, checkpoints: Checkpoints
    ) -> tuple[TrainState, Epoch]:
        """One pass over the training set, or the rest of it where the collector has its first steps.

        Its scores are fetched at the end, and wherever a checkpoint is due.
        """
        running = devices.place(collector.running(self._splits.train.labels), self._everywhere)
        feed, every = self._feeds["train"], self._config.checkpoint_steps
        steps = min(self._config.steps_per_dispatch, self.steps_per_epoch)
        blocks = feed.read_epoch(epoch, self._config.batch_size, steps, done=collector.steps)
        for batches, count in collector.awaiting(blocks):
            numbers = devices.place((np.int32(count), np.int32(epoch)), self._everywhere)
            state, running, so_far, metrics = self._train_block(state, running, batches, *numbers)
            due = every and collector.steps // every < (collector.steps + count) // every
            collector.add(batches, count, metrics, feed)
            progress.dispatched(epoch, count, so_far)
            if due and collector.steps < self.steps_per_epoch:
                step = (epoch - 1) * self.steps_per_epoch + collector.steps
                checkpoints.save_latest(step, state, collector.fetch())
        return state, collector.epoch(len(self._splits.train))

    def estimate(self, state: TrainState, epoch: int, result: Epoch) -> Epoch:
        """The epoch with what further estimators, which the config names, make of it."""
        samples: dict[str, np.ndarray] = {}
        estimates: dict[str, dict[str, float]] = {}
        feed = self._feeds["train"]
        if isinstance(feed, ResidentFeed):
            samples, estimates = self._estimators.measure(state, feed.data, epoch)
        if TEXTBOOK in result.samples:
            estimates[TEXTBOOK] = summarize_alignments(result.samples[TEXTBOOK])
        return Epoch(result.means, result.samples | samples, estimates)

    def record(self, state: TrainState, epoch: int, result: Epoch, previous_predictions: np.ndarray | None) -> Record:
        """The epoch's line in the history, but for the seconds it took."""
        if not np.isfinite(result.means["loss"]):
            raise UserError(
                f"training diverged in epoch {epoch}: the loss is {result.means['loss']}; lower "
                "optimizer.learning_rate or set optimizer.clip_norm (what was saved before this epoch is kept)"
            )
        step = epoch * self.steps_per_epoch
        labels, predictions = self._splits.train.labels, result.samples["prediction"]
        seen = predictions >= 0  # all but the images that could not be decoded
        alignments = result.samples["alignment"][seen]
        record: Record = {
            "epoch": epoch,
            "step": step,
            "progress": epoch / self._config.epochs,
            "train_loss": result.means["loss"],
            "train_accuracy": float(np.mean(predictions[seen] == labels[seen])),
            **summarize_alignments(alignments),
            "two_peakedness": two_peakedness(alignments),
            "prediction_changes": None,
            "prediction_churn": None,
            "gradient_norm": result.means["gradient_norm"],
            "head_gradient_norm": result.means["head_gradient_norm"],
            "prediction_entropy": result.means["prediction_entropy"],
            "learning_rate": float(self._schedule(step - 1)),
        }
        if previous_predictions is not None:
            changes = int(np.sum(predictions != previous_predictions))
            record["prediction_changes"], record["prediction_churn"] = changes, changes / len(labels)
        for split in ("val", "test"):
            metrics = self._evaluated(split, state)
            record[f"{split}_loss"], record[f"{split}_accuracy"] = metrics.get("loss"), metrics.get("accuracy")
        record |= self._measured(state, epoch)
        if result.estimates:
            record["estimates"] = result.estimates
        reasons = reasons_of_nan(record)
        return record | {"reasons": reasons} if reasons else record

    def facts(self, state: TrainState, predictions: np.ndarray | None) -> dict[str, Any]:
        """What the summary says of data and network; the last predictions tell what an earlier start has skipped."""
        train = self._splits.train
        skipped = [name for feed in self._feeds.values() for name in feed.skipped]
        if isinstance(train, StreamedExamples) and predictions is not None:
            skipped += [train.encoded.name(row) for row in train.rows[predictions < 0].tolist()]
        names = sorted(set().union(*gather_from_all(skipped)))
        return {
            "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
            "train_examples": len(train),
            "val_examples": len(self._splits.val or ()),
            "test_examples": len(self._splits.test or ()),
            "skipped_count": len(names),
            "skipped_images": names,
            "wrong_label_share": None
            if train.clean_labels is None
            else float(np.mean(train.labels != train.clean_labels)),
        }

    def _measured(self, state: TrainState, epoch: int) -> Record:
        """What the rules ask for beyond what training shows by itself, and the seconds that each of it took."""
        record: Record = {}
        for name, (measure, batches) in self._measures.items():
            started = time.perf_counter()
            block = next(self._feeds["train"].read_epoch(epoch, self._config.batch_size, batches))
            number = devices.place(np.int32(epoch), self._everywhere)
            record[name] = float(measure(state, block.batches, number))
            record[f"{name}_seconds"] = time.perf_counter() - started
        return record

    def _evaluated(self, split: str, state: TrainState) -> dict[str, float]:
        if split not in self._feeds:
            return {}
        feed, results = self._feeds[split], []
        for block in feed.read_in_order(self._config.eval_batch_size):
            results.append(self._evaluate(state.params, block.batches))
            feed.hold_back(results)
        sums = devices.fetch(results)
        loss, correct, count = (float(sum(block[name] for block in sums)) for name in ("loss", "correct", "count"))
        return {"loss": loss / count, "accuracy": correct / count}
