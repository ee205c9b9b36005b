"""Estimates of the alignments at the checkpoints of a finished run, on the data that its config names."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

import datasets
import networks
from datasets import Examples, Splits
from datasets.feeds.augment import Augmentation
from datasets.feeds.batches import select_arrays
from errors import UserError
from parallel import devices
from training.estimators import TEXTBOOK
from training.offline import OfflineEstimators
from training.run.checkpoints import load_params
from training.run.records import Records
from training.state import TrainState
from training.step import Recipe

FIELDS = ("gwa", "alignment_mean", "excess_kurtosis")


def estimate(workdir: pathlib.Path, estimators: Sequence[str], rules: Sequence[str] = ()) -> dict[str, Any]:
    """What further estimators give at the parameters that rules have kept.

    Args:
      workdir: of a finished run.
      estimators: names of `training.estimators`, without `textbook`.
      rules: whose checkpoints; all that the run has kept if none is named.

    Returns:
      For each rule, `epoch`, `online` (FIELDS of that epoch in the history) and `estimates`, by name as in a history.

    Raises:
      UserError: when the run, a checkpoint or an estimator does not exist, or the data are no longer those of the run.
    """
    if not (workdir / "summary.json").exists():
        raise UserError(f"{workdir} holds no finished run")
    if TEXTBOOK in estimators:
        raise UserError(f"{TEXTBOOK} is taken in the steps of training alone; name it in config.estimators")
    config = ConfigDict(json.loads((workdir / "config.json").read_text()))
    epochs = _kept_epochs(workdir, rules)
    splits = datasets.build(config.dataset)
    _check_data(workdir, splits)
    devices.enable_compilation_cache()
    mesh = devices.make_mesh()
    devices.check_batch_size(config.batch_size, config.optimizer.accumulation_steps, mesh)
    everywhere = devices.replicated_sharding(mesh)
    measure = OfflineEstimators(estimators, _recipe(config, splits), config, splits.train.image_shape, mesh).measure
    if not isinstance(splits.train, Examples):
        raise UserError(f"the training data of {workdir} are streamed; estimates need dataset.feed=resident")
    data = jax.device_put(select_arrays(splits.train), everywhere)
    history = Records(workdir).history
    steps_per_epoch = -(-len(splits.train) // config.batch_size)
    results = {}
    for rule, epoch in epochs.items():
        params = load_params(workdir / "checkpoints" / rule / str(epoch))
        step, rng = jnp.int32(epoch * steps_per_epoch), jax.random.key(config.seed)
        state = jax.device_put(TrainState(params, optax.EmptyState(), step, rng), everywhere)
        _, estimates = measure(state, data, epoch)
        online = {field: history[epoch - 1][field] for field in FIELDS}
        results[rule] = {"epoch": epoch, "online": online, "estimates": estimates}
    return results


def _kept_epochs(workdir: pathlib.Path, rules: Sequence[str]) -> dict[str, int]:
    choices = json.loads((workdir / "summary.json").read_text())["rules"]
    kept = {rule: choice["epoch"] for rule, choice in choices.items() if choice["checkpoint"]}
    for rule in rules:
        if rule not in kept:
            raise UserError(f"{workdir} has no checkpoint {rule!r}; it has {', '.join(kept) or 'none'}")
    return {rule: kept[rule] for rule in rules or kept}


def _check_data(workdir: pathlib.Path, splits: Splits) -> None:
    stored = np.load(workdir / "labels.npz")
    if not (
        np.array_equal(stored["labels"], splits.train.labels) and np.array_equal(stored["rows"], splits.train.rows)
    ):
        raise UserError(f"the training data that {workdir}/config.json names are no longer those of its labels.npz")


def _recipe(config: ConfigDict, splits: Splits) -> Recipe:
    num_classes = len(splits.class_names)
    return Recipe(
        model=networks.build(config.network, num_classes),
        optimizer=optax.set_to_zero(),
        augmentation=Augmentation.from_config(config.augment),
        num_classes=num_classes,
        label_smoothing=config.loss.label_smoothing,
        accumulation_steps=config.optimizer.accumulation_steps,
    )
