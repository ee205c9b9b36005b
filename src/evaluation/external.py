"""Accuracy on further test sets of the checkpoints that a run's rules keep, into the run's `external.json`.

{"imagenet_v2": {"examples": 10000, "rules": {"max_gwa": {"epoch": 85, "accuracy": 0.61}}}}
"""

from __future__ import annotations

import contextlib
import functools
import json
import pathlib
from collections.abc import Mapping
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

import networks
from datasets import Splits, StreamedExamples
from datasets.feeds import open_feed
from datasets.feeds.augment import normalize
from datasets.feeds.batches import Batches
from errors import UserError
from evaluation import robustness
from evaluation.external_sets import REAL, ExternalSet, find_folder, folder_of_classes, prepared_by_tfds, reassessed
from parallel import devices
from parallel.processes import gather_from_all, is_main
from training.run.checkpoints import load_params
from training.run.records import write_json

FILE = "external.json"


def requested(config: Any, splits: Splits) -> dict[str, ExternalSet]:
    """The test sets that `config.evaluate` names besides those of `robustness`, known to be there.

    Raises:
      UserError: when one is not.
    """
    names = [name for name in config.evaluate if name not in robustness.SETS]
    return {name: open_set(name, config.evaluate_path, config, splits) for name in names}


def open_set(name: str, path: str | None, config: Any, splits: Splits) -> ExternalSet:
    """The test set of that name, for a run that trained on `splits`.

    Args:
      name: `imagenet_real`; a folder of class folders in `path`, such as `imagenet_v2`; or what tfds has prepared in
        `path`, such as `imagenet_v2/matched-frequency`.
      path: the folder of all sets, or that of this one.
      config: the run's.
      splits: of the run.

    Raises:
      UserError: when it is not there, or does not fit the run.
    """
    if path is None:
        raise UserError(
            f"there is no further test set {name!r}; there are {', '.join(robustness.SETS)} and, with evaluate_path "
            f"set, {REAL} and the folders of classes in it"
        )
    if not isinstance(splits.train, StreamedExamples):
        raise UserError(f"{name} is for runs with dataset.feed=stream, whose images are cropped as they are read")
    if name == REAL:
        if not isinstance(splits.test, StreamedExamples):
            raise UserError(f"{name} is about the run's own test images, and this data set has none")
        return reassessed(find_folder(path, name), splits.test, splits.class_names)
    fitting = (splits.class_names, splits.train.image_shape, config.dataset.classes is not None)
    return prepared_by_tfds(name, path, *fitting) or folder_of_classes(find_folder(path, name), *fitting)


def measure(
    workdir: pathlib.Path,
    config: Any,
    rules: Mapping[str, Mapping[str, Any]],
    splits: Splits,
    name: str,
    test_set: ExternalSet,
) -> dict[str, Any]:
    """Evaluates every rule's checkpoint on the set, each image once, and adds it to `external.json`.

    Args:
      workdir: of the run.
      config: the run's.
      rules: `rules` of its summary: each rule's epoch and checkpoint.
      splits: its data.
      name: of the test set.
      test_set: what to evaluate on.

    Returns:
      What is written under the name: `examples`, the number of images; `skipped`, names of damaged ones, where
      `dataset.stream.damaged` is skip and there are any; and for each rule `epoch` and `accuracy`, the share of
      images whose predicted class is among the right ones. Both are None for a rule without a checkpoint.

    Raises:
      UserError: when an image or a checkpoint is missing or damaged.
    """
    mesh = devices.make_mesh()
    # Rules that keep the same epoch keep the same parameters.
    kept = {rule["epoch"]: workdir / rule["checkpoint"] for rule in rules.values() if rule["epoch"] is not None}
    checkpoints = devices.place([load_params(path) for path in kept.values()], devices.replicated_sharding(mesh))
    predict = jax.jit(
        functools.partial(_predict, networks.build(config.network, len(splits.class_names))),
        out_shardings=devices.replicated_sharding(mesh),
    )
    correct, count = np.zeros(len(kept), int), 0
    steps = -(-len(test_set.examples) // config.eval_batch_size)
    with contextlib.closing(open_feed(test_set.examples, config, mesh)) as feed:
        for block in tqdm(feed.read_in_order(config.eval_batch_size), desc=name, total=steps, disable=None):
            rows, predictions = jax.device_get(predict(checkpoints, block.batches))
            count += int(np.sum(rows >= 0))
            correct += [_num_right(test_set, rows, predicted) for predicted in predictions]
    accuracy = dict(zip(kept, (correct / max(count, 1)).tolist(), strict=True))
    result: dict[str, Any] = {"examples": count}
    if skipped := sorted(set().union(*gather_from_all(sorted(feed.skipped)))):
        result["skipped"] = skipped
    result["rules"] = {
        rule: {"epoch": choice["epoch"], "accuracy": accuracy.get(choice["epoch"])} for rule, choice in rules.items()
    }
    file = workdir / FILE
    if is_main():
        write_json(file, (json.loads(file.read_text()) if file.exists() else {}) | {name: result})
    return result


def _predict(model: nn.Module, checkpoints: list[Any], batches: Batches) -> tuple[jax.Array, list[jax.Array]]:
    """The rows `[steps, B]` of the batches, -1 for what only fills them up, and each checkpoint's classes for them."""

    def classes(params: Any, i: jax.Array) -> jax.Array:
        logits = cast(jax.Array, model.apply({"params": params}, normalize(batches.at(i)["image"])))
        return jnp.argmax(logits, axis=-1)

    steps = jnp.arange(len(batches))
    rows = jnp.where(batches.mask > 0, batches.rows, -1)
    return rows, [jax.lax.map(functools.partial(classes, params), steps) for params in checkpoints]


def _num_right(test_set: ExternalSet, rows: np.ndarray, predicted: np.ndarray) -> int:
    pairs = zip(rows.ravel().tolist(), predicted.ravel().tolist(), strict=True)
    return sum(label in test_set.answers[row] for row, label in pairs if row >= 0)
