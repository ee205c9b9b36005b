"""Further estimates of the alignments at the checkpoints of a finished run, on the data that its config names."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

import datasets
from datasets import Examples
from datasets.feeds.batches import select_arrays
from errors import UserError
from parallel import devices
from training.estimators import TEXTBOOK
from training.offline import OfflineEstimators
from training.run.reader import FinishedRun, load_array, read_run
from training.run.restoring import load_params
from training.state import TrainState
from training.step import build_recipe

FIELDS = ("gwa", "alignment_mean", "excess_kurtosis")


def estimate(workdir: pathlib.Path, estimators: Sequence[str], rules: Sequence[str] = ()) -> dict[str, Any]:
    """Takes further estimates at the parameters that a run's rules keep.

    Args:
      workdir: of a finished run.
      estimators: names from `training.estimators`, without `textbook`.
      rules: whose checkpoints; all that the run has kept if none is named.

    Returns:
      For each rule, `epoch`, `online` (FIELDS of that epoch in the history) and `estimates`, by name as in a history.

    Raises:
      UserError: when the run, a checkpoint or an estimator does not exist, or the data have changed since the run.
    """
    run = read_run(workdir)
    if TEXTBOOK in estimators:
        raise UserError(f"{TEXTBOOK} is taken in the steps of training alone; name it in config.estimators")
    config = ConfigDict(run.config)
    epochs = _find_epochs(run, rules)
    splits = datasets.build(config.dataset)
    if not isinstance(splits.train, Examples):
        raise UserError(f"the training data of {workdir} are streamed; estimates need dataset.feed=resident")
    check_data(workdir, splits.train)
    devices.enable_compilation_cache()
    mesh = devices.make_mesh()
    devices.check_batch_size(config.batch_size, config.optimizer.accumulation_steps, mesh)
    everywhere = devices.replicated_sharding(mesh)
    batch_size = devices.clamp_batch_size(
        config.batch_size, config.optimizer.accumulation_steps, len(splits.train), mesh
    )
    steps_per_epoch = -(-len(splits.train) // batch_size)
    recipe = build_recipe(config, len(splits.class_names), config.epochs * steps_per_epoch)
    measure = OfflineEstimators(estimators, recipe, config, splits.train.image_shape, mesh, batch_size).measure
    data = jax.device_put(select_arrays(splits.train), everywhere)
    results = {}
    for rule, epoch in epochs.items():
        params = load_params(workdir / "checkpoints" / rule / str(epoch))
        step, rng = jnp.int32(epoch * steps_per_epoch), jax.random.key(config.seed)
        state = jax.device_put(TrainState(params, optax.EmptyState(), step, rng), everywhere)
        _, estimates = measure(state, data, epoch)
        online = {field: run.history[epoch - 1][field] for field in FIELDS}
        results[rule] = {"epoch": epoch, "online": online, "estimates": estimates}
    return results


def _find_epochs(run: FinishedRun, rules: Sequence[str]) -> dict[str, int]:
    """The epoch of each rule's checkpoint."""
    kept = {rule: choice["epoch"] for rule, choice in run.summary["rules"].items() if choice["checkpoint"]}
    for rule in rules:
        if rule not in kept:
            raise UserError(f"{run.workdir} has no checkpoint {rule!r}; it has {', '.join(kept) or 'none'}")
    return {rule: kept[rule] for rule in rules or kept}


def check_data(workdir: pathlib.Path, train: Examples) -> None:
    """Refuses training data that are not those of a run.

    Raises:
      UserError: when rows or labels differ.
    """
    stored = load_array(workdir, "labels.npz")
    if not (np.array_equal(stored["labels"], train.labels) and np.array_equal(stored["rows"], train.rows)):
        raise UserError(f"the training data that {workdir}/config.json names are no longer those of its labels.npz")
