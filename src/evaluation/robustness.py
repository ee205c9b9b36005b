"""Accuracy under corruptions of the checkpoints that a run's rules keep, into the run's `robustness.json`."""

from __future__ import annotations

import contextlib
import functools
import math
import pathlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

import networks
from datasets import Examples, Splits, StreamedExamples
from datasets.feeds import open_feed
from datasets.labels import draw_stratified
from errors import UserError
from evaluation.corrupted import CorruptedSet, Generated, ImageNetFiles, official
from evaluation.corruptions import CORRUPTIONS, GROUPS, SEVERITIES, check_names
from evaluation.external_sets import find_folder
from parallel import devices
from parallel.processes import gather_from_all, is_main
from training.run.checkpoints import load_params
from training.run.records import write_json
from training.step import evaluate

SETS = {"cifar10_c": 32, "imagenet_c": 224}  # the side of their images
BENCHMARK = tuple(name for name, corruption in CORRUPTIONS.items() if corruption.group in GROUPS)
_BLOCK_BYTES = 2**28  # of images that are on the device at once


def requested(config: Any, splits: Splits) -> dict[str, CorruptedSet]:
    """The corrupted test sets that `config.evaluate` names, known to be usable.

    Raises:
      UserError: when one is not.
    """
    return {name: open_set(name, config.evaluate_path, config, splits) for name in config.evaluate if name in SETS}


def open_set(name: str, path: str | None, config: Any, splits: Splits) -> CorruptedSet:
    """The test set of that name, for a run that trained on `splits`.

    Args:
      name: one of SETS.
      path: folder of the benchmark's own files, or of a folder of its name that holds them; None to corrupt the run's
        own test images.
      config: the run's.
      splits: of the run.

    Raises:
      UserError: when there is no such set, no test data to make it from, or it does not fit the run's images or
        classes.
    """
    if name not in SETS:
        raise UserError(f"there is no further test set {name!r}; there are {', '.join(SETS)}")
    expected = (SETS[name], SETS[name], 3)
    if splits.train.image_shape != expected:
        raise UserError(f"{name} has images of {expected}, but the run's are {splits.train.image_shape}")
    if path is None:
        if splits.test is None:
            raise UserError(f"{name} is made from test data, and this data set has none; name a folder of its files")
        if not isinstance(splits.test, Examples):
            raise UserError(f"{name} cannot be made from streamed test data; name a folder of its files")
        return Generated(splits.test)
    test_set = official(find_folder(path, name), splits.class_names, config.dataset.classes is not None)
    if test_set.image_shape != expected:
        raise UserError(f"{path} has images of {test_set.image_shape}; those of {name} are {expected}")
    if test_set.labels.max() >= len(splits.class_names):
        raise UserError(f"{path} has class {test_set.labels.max()}, but the run only {len(splits.class_names)} classes")
    for corruption in BENCHMARK:
        for severity in SEVERITIES:
            test_set.read(corruption, severity, np.arange(1))  # a file that is missing shows now
    return test_set


def measure(
    workdir: pathlib.Path,
    config: Any,
    rules: Mapping[str, Mapping[str, Any]],
    splits: Splits,
    name: str,
    test_set: CorruptedSet,
    severities: Sequence[int] = SEVERITIES,
    num_examples: int = 0,
) -> dict[str, Any]:
    """Evaluates every rule's checkpoint under the benchmark's 15 corruptions and writes `robustness.json`.

    Args:
      workdir: of the run.
      config: the run's.
      rules: `rules` of its summary: each rule's epoch and checkpoint.
      splits: its data; clean accuracy is that on all of its test set.
      name: of the test set.
      test_set: what to evaluate on.
      severities: of the corruptions.
      num_examples: images per corruption and severity, a stratified part of the set; 0 for all.

    Returns:
      What is written: `set`, `source`, `frost`, `examples`, `severities`, `seconds`; `skipped`, names of damaged
      images, where `dataset.stream.damaged` is skip and there are any; and for each rule `epoch`, `clean_accuracy`,
      `accuracy` by corruption and severity, `groups` (mean by group and severity, and over the severities) and `mean`
      over all corruptions and severities. All are None for a rule without a checkpoint.

    Raises:
      UserError: when a severity or the number of examples is impossible, or a file or checkpoint missing or damaged.
    """
    check_names((), severities)
    if not 0 <= num_examples <= len(test_set.labels):
        raise UserError(f"{num_examples} examples are asked for; {name} has {len(test_set.labels)} (0 for all)")
    started = time.perf_counter()
    rows = np.arange(len(test_set.labels))
    if num_examples:
        rows, _ = draw_stratified(test_set.labels, num_examples, seed=0)
    # Rules that keep the same epoch keep the same parameters.
    kept = {rule["epoch"]: workdir / rule["checkpoint"] for rule in rules.values() if rule["epoch"] is not None}
    judge = _Judge(config, len(splits.class_names), [load_params(path) for path in kept.values()])
    by_epoch = dict(zip(kept, _judged(judge, splits, name, test_set, severities, rows), strict=True))
    nothing = dict.fromkeys(("clean_accuracy", "accuracy", "groups", "mean"))
    result: dict[str, Any] = {
        "set": name,
        "source": test_set.source,
        "frost": test_set.frost,
        "examples": len(rows),
        "severities": list(severities),
        "seconds": time.perf_counter() - started,
    }
    if skipped := sorted(set().union(*gather_from_all(sorted(judge.skipped)))):
        result["skipped"] = skipped
    result["rules"] = {
        rule: {"epoch": choice["epoch"], **by_epoch.get(choice["epoch"], nothing)} for rule, choice in rules.items()
    }
    if is_main():
        write_json(workdir / "robustness.json", result)
    return result


def _judged(
    judge: _Judge,
    splits: Splits,
    name: str,
    test_set: CorruptedSet,
    severities: Sequence[int],
    rows: np.ndarray,
) -> list[dict[str, Any]]:
    """For each checkpoint, its accuracies and their means."""
    clean: Sequence[float | None] = [None] * len(judge)
    if splits.test is not None:
        clean = judge.accuracies([splits.test])
    tables: list[dict[str, dict[str, float]]] = [{corruption: {} for corruption in BENCHMARK} for _ in clean]
    for corruption, severity in tqdm([(c, s) for c in BENCHMARK for s in severities], desc=name, disable=None):
        parts = (test_set.read(corruption, severity, part) for part in _parts(test_set, rows))
        for table, accuracy in zip(tables, judge.accuracies(parts, SETS[name]), strict=True):
            table[corruption][str(severity)] = accuracy
    return [
        {"clean_accuracy": accuracy, "accuracy": table, **_means(table)}
        for accuracy, table in zip(clean, tables, strict=True)
    ]


class _Judge:
    """Some checkpoints of one network on the devices, and how often each of them is right."""

    def __init__(self, config: Any, num_classes: int, checkpoints: Sequence[Any]):
        self._config, self._mesh = config, devices.make_mesh()
        self._evaluate = jax.jit(functools.partial(evaluate, networks.build(config.network, num_classes)))
        self._checkpoints = [devices.place(params, devices.replicated_sharding(self._mesh)) for params in checkpoints]
        self.skipped: set[str] = set()  # images that this process could not decode

    def __len__(self) -> int:
        return len(self._checkpoints)

    def accuracies(self, parts: Iterable[Examples | StreamedExamples], resize: int | None = None) -> list[float]:
        """Each checkpoint's share of right predictions; images are brought to the side `resize` first."""
        correct, count = np.zeros(len(self._checkpoints)), 0.0
        for part in parts:
            with contextlib.closing(open_feed(part, self._config, self._mesh, resize)) as feed:
                results: list[list[dict[str, jax.Array]]] = []
                for block in feed.read_in_order(self._config.eval_batch_size):
                    results.append([self._evaluate(params, block.batches) for params in self._checkpoints])
                    feed.hold_back(results)
                for sums in devices.fetch(results):
                    correct += [float(result["correct"]) for result in sums]
                    count += float(sums[0]["count"]) if sums else 0
                self.skipped |= feed.skipped
        return [float(number) for number in correct / max(count, 1)]


def _parts(test_set: CorruptedSet, rows: np.ndarray) -> Iterator[np.ndarray]:
    """The rows in as few parts of nearly equal size as fit on the device; in one, if they are streamed."""
    at_once = len(rows) if isinstance(test_set, ImageNetFiles) else _BLOCK_BYTES // math.prod(test_set.image_shape)
    yield from np.array_split(rows, -(-len(rows) // at_once))


def _means(accuracy: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Means by group and severity, by group, and of everything."""
    groups = {}
    for group in GROUPS:
        members = [by_severity for name, by_severity in accuracy.items() if CORRUPTIONS[name].group == group]
        means = {severity: float(np.mean([member[severity] for member in members])) for severity in members[0]}
        groups[group] = means | {"mean": float(np.mean(list(means.values())))}
    everything = [value for by_severity in accuracy.values() for value in by_severity.values()]
    return {"groups": groups, "mean": float(np.mean(everything))}
