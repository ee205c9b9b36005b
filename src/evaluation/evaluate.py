"""Judges the checkpoints that a run's rules keep on test sets, and writes evaluations.json (see `results`)."""

from __future__ import annotations

import contextlib
import functools
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

import networks
from datasets import Examples, Splits, StreamedExamples
from datasets.feeds import Batches, open_feed
from datasets.feeds.augment import normalize
from evaluation.corruptions import GROUPS
from evaluation.results import FILE, read_evaluations
from evaluation.test_sets import Condition, TestSet, open_requested
from parallel import devices
from parallel.processes import gather_from_all, is_main
from training.run.durable import write_json
from training.run.restoring import load_params

__all__ = ["evaluate_checkpoints", "open_requested"]  # all that training needs


def evaluate_checkpoints(
    workdir: pathlib.Path,
    config: Any,
    rules: Mapping[str, Mapping[str, Any]],
    splits: Splits,
    test_sets: Mapping[str, TestSet],
) -> dict[str, dict[str, Any]]:
    """Judges every rule's checkpoint on every test set; other results in evaluations.json stay.

    Args:
      workdir: of the run.
      config: of the run.
      rules: `rules` of its summary: each rule's epoch and checkpoint.
      splits: its data.
      test_sets: by name.

    Returns:
      What is written, by test set: `examples`, the number of images; the set's `facts`; `seconds`; `skipped`, names of
      damaged images, where `dataset.stream.damaged` is skip and there are any; and for each rule `epoch` and
      `accuracy`, the share of images whose predicted class is a right one. With corruptions, `accuracy` is by
      corruption and severity, and there are `clean_accuracy` on the run's whole test set, `groups` (means by group and
      severity, and over severities) and `mean` over everything. All are None for a rule without a checkpoint.

    Raises:
      UserError: when an image or a checkpoint is missing or damaged, or evaluations.json malformed.
    """
    read_evaluations(workdir)  # a malformed file shows before the work, not after it
    # Rules that keep the same epoch keep the same parameters.
    kept = {rule["epoch"]: workdir / rule["checkpoint"] for rule in rules.values() if rule["epoch"] is not None}
    judge = _Judge(config, len(splits.class_names), [load_params(path) for path in kept.values()])
    results = {}
    for name, test_set in test_sets.items():
        started = time.perf_counter()
        judge.skipped.clear()
        accuracies, count = judge.measure(name, test_set)
        fields = ["accuracy"]
        if None not in test_set.conditions:
            fields = ["clean_accuracy", "accuracy", "groups", "mean"]
            if splits.test is not None:
                clean, _ = judge.measure(f"{name}, clean", TestSet.of(splits.test))
                accuracies = [of_clean | others for of_clean, others in zip(clean, accuracies, strict=True)]
        by_epoch = {epoch: summarize(by_condition) for epoch, by_condition in zip(kept, accuracies, strict=True)}
        result: dict[str, Any] = {"examples": count, **test_set.facts, "seconds": time.perf_counter() - started}
        if skipped := sorted(set().union(*gather_from_all(sorted(judge.skipped)))):
            result["skipped"] = skipped
        result["rules"] = {
            rule: {"epoch": choice["epoch"], **by_epoch.get(choice["epoch"], dict.fromkeys(fields))}
            for rule, choice in rules.items()
        }
        results[name] = result
        if is_main():
            write_json(workdir / FILE, read_evaluations(workdir) | {name: result})
    return results


class _Judge:
    """Checkpoints of one network on the devices, and the program that counts how often each is right.

    Attributes:
      skipped: names of the images that this process could not decode.
    """

    def __init__(self, config: Any, num_classes: int, checkpoints: Sequence[Any]):
        self._config, self._mesh = config, devices.make_mesh()
        self._everywhere = devices.replicated_sharding(self._mesh)
        self._count = jax.jit(functools.partial(count_right, networks.build(config.network, num_classes)))
        self._checkpoints = [devices.place(params, self._everywhere) for params in checkpoints]
        self.skipped: set[str] = set()

    def measure(self, name: str, test_set: TestSet) -> tuple[list[dict[Condition, float]], int]:
        """Each checkpoint's accuracy by condition, and the number of images; every image is read once for all.

        Without checkpoints nothing is read.
        """
        size, count = len(test_set.answers), 0
        accuracies: list[dict[Condition, float]] = [{} for _ in self._checkpoints]
        with tqdm(total=size * len(test_set.conditions), desc=name, unit=" images", disable=None) as bar:
            for condition in test_set.conditions if self._checkpoints else ():
                counts = np.zeros((len(self._checkpoints), 2))
                for places in np.array_split(np.arange(size), -(-size // (test_set.at_once or size))):
                    examples = test_set.read(condition, places)
                    counts += self._count_all(examples, test_set.answers[places], test_set.resize, bar)
                count = int(counts[0, 1])
                for by_condition, right in zip(accuracies, counts[:, 0].tolist(), strict=True):
                    by_condition[condition] = right / max(count, 1)
        return accuracies, count

    def _count_all(
        self, examples: Examples | StreamedExamples, answers: np.ndarray, resize: int | None, bar: tqdm
    ) -> np.ndarray:
        """What `count_right` gives for each checkpoint, `[checkpoints, 2]`."""
        on_devices, results, left = devices.place(answers, self._everywhere), [], len(answers)
        with contextlib.closing(open_feed(examples, self._config, self._mesh, resize)) as feed:
            for block in feed.read_in_order(devices.choose_eval_batch_size(self._config.eval_batch_size, self._mesh)):
                results.append([self._count(params, block.batches, on_devices) for params in self._checkpoints])
                feed.hold_back(results)
                shown = min(block.batches.mask.size, left)  # without padding
                left -= shown
                bar.update(shown)
            counts = devices.fetch(results)
            self.skipped |= feed.skipped
        return np.asarray(counts, np.float64).sum(axis=0)


def count_right(model: nn.Module, params: Any, batches: Batches, answers: jax.Array) -> jax.Array:
    """Counts the images whose predicted class is among their right ones, and all images.

    Args:
      model: static under jit.
      params: of the model.
      batches: of images; those with mask 0, padding or damaged, are not counted.
      answers: int32 `[N, most]` by row, the right classes; -1 fills up.

    Returns:
      float32 `[2]`.
    """

    def step(totals: jax.Array, i: jax.Array) -> tuple[jax.Array, None]:
        batch = batches.at(i)
        logits = cast(jax.Array, model.apply({"params": params}, normalize(batch["image"])))
        predictions = jnp.argmax(logits, axis=-1, keepdims=True)
        right = jnp.any(answers[batch["index"]] == predictions, axis=-1)
        return totals + jnp.stack([jnp.sum(batch["mask"] * right), jnp.sum(batch["mask"])]), None

    totals, _ = jax.lax.scan(step, jnp.zeros(2), jnp.arange(len(batches)))
    return totals


def summarize(accuracies: Mapping[Condition, float]) -> dict[str, Any]:
    """What the results say of one checkpoint, from its accuracy on clean images (None) and with each corruption."""
    table: dict[str, dict[str, float]] = {}
    for condition, accuracy in accuracies.items():
        if condition is not None:
            table.setdefault(condition[0], {})[str(condition[1])] = accuracy
    if not table:
        return {"accuracy": accuracies[None]}
    groups = {}
    for group, names in GROUPS.items():
        members = [table[name] for name in names if name in table]
        means = {severity: float(np.mean([member[severity] for member in members])) for severity in members[0]}
        groups[group] = means | {"mean": float(np.mean(list(means.values())))}
    mean = float(np.mean([accuracy for by_severity in table.values() for accuracy in by_severity.values()]))
    return {"clean_accuracy": accuracies.get(None), "accuracy": table, "groups": groups, "mean": mean}
