"""What a run needs before its first step: checks, data, network, and the programs that its devices will run."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import optax

import datasets
import fields
import networks
from configs import base
from datasets import Splits, StreamedExamples
from datasets.feeds import open_feed
from datasets.feeds.batches import Feed
from errors import UserError
from extensions import is_external
from gwa.rules.dissent import DISSENT
from parallel import devices
from parallel.processes import is_main, run_on_main
from training.estimators import TEXTBOOK, check_names
from training.idle import find_idle
from training.offline import OfflineEstimators
from training.optimizer import build_schedule
from training.pretrained import load_pretrained_params
from training.selection import Selection, find_rule
from training.signals import Measurement, build_measurements
from training.state import TrainState, create_state, state_shapes
from training.step import Metrics, Recipe, build_recipe, evaluate, jit_train_block

_PRECISION = "jax_default_matmul_precision"


@dataclasses.dataclass(frozen=True)
class Setup:
    """What stays the same throughout a run.

    Attributes:
      config: of the run.
      splits: its data.
      feeds: of the splits that exist: `train`, `val`, `test`.
      batch_size: samples per update; that of the config, or the whole training set where that is smaller.
      mesh: all devices.
      recipe: what a training step needs to know.
      schedule: the learning rate by step, from 0.
      steps_per_epoch: updates.
      steps_per_dispatch: updates; those of the config, or all of an epoch where that has fewer.
      selection: the rules, which it follows from epoch to epoch.
      shardings: how the arrays of the state lie on the devices.
      train_block, evaluate: the jitted programs of training and of evaluation.
      needs_past: whether a rule reads dissent, for which earlier predictions vote.
      measurements: those that the rules need, by field of the record.
      estimators: further estimates of the alignments.
      test_sets: further test sets that the chosen checkpoints are evaluated on, by name.
    """

    config: Any
    splits: Splits
    feeds: Mapping[str, Feed]
    batch_size: int
    mesh: jax.sharding.Mesh
    recipe: Recipe
    schedule: optax.Schedule
    steps_per_epoch: int
    steps_per_dispatch: int
    selection: Selection
    shardings: TrainState
    train_block: Callable[..., Any]
    evaluate: Callable[..., Metrics]
    needs_past: bool
    measurements: Mapping[str, Measurement]
    estimators: OfflineEstimators
    test_sets: Mapping[str, Any]


@contextlib.contextmanager
def prepare(config: Any) -> Iterator[Setup]:
    """Checks a config, reads its data and builds what the run needs; closes the feeds at the end.

    Raises:
      UserError: when the config asks for something impossible, or the data are missing.
    """
    fields.check(config, base.FIELDS)
    check_names(config.estimators)
    run_on_main(lambda: _check_wandb(config.wandb.mode))
    networks.build(config.network, num_classes=2)  # a mistake in it need not wait for the data
    for name in config.stopping.rules:
        find_rule(name)
    devices.enable_compilation_cache()
    mesh = devices.make_mesh()
    devices.check_batch_size(config.batch_size, config.optimizer.accumulation_steps, mesh)
    splits = datasets.build(config.dataset)
    image_shape = splits.train.image_shape
    batch_size = devices.clamp_batch_size(
        config.batch_size, config.optimizer.accumulation_steps, len(splits.train), mesh
    )
    steps_per_epoch = -(-len(splits.train) // batch_size)
    if is_main():
        print(*splits.describe(), sep="\n")
        if batch_size < config.batch_size:
            print(f"batch_size is {config.batch_size}, more than the training set has; each update takes all of it")
        for line in find_idle(config, image_shape, steps_per_epoch, mesh.size):
            print(line, file=sys.stderr)
    recipe = build_recipe(config, len(splits.class_names), config.epochs * steps_per_epoch)
    if is_external(config.network.name):  # the tests check our own
        networks.check_contract(recipe.model, image_shape, recipe.num_classes)
        networks.check_head(recipe.model, image_shape)
    recipe.augmentation.check_size(*image_shape[:2])
    if isinstance(splits.train, StreamedExamples) and set(config.estimators) - {TEXTBOOK}:
        raise UserError(f"estimators is {config.estimators}; with dataset.feed=stream it can only be {TEXTBOOK}")
    selection = Selection(config.stopping, splits)
    shapes = state_shapes(recipe.model, recipe.optimizer, image_shape, recipe.ema_decay > 0)
    shardings = devices.parameter_shardings(shapes, mesh, config.sharding)
    test_sets = {}
    if config.evaluate:  # only then: it imports much that other runs do not need
        from evaluation.evaluate import open_requested

        test_sets = open_requested(config, splits)
    with contextlib.ExitStack() as stack:
        if config.matmul_precision is not None:
            stack.callback(jax.config.update, _PRECISION, getattr(jax.config, _PRECISION))
            jax.config.update(_PRECISION, config.matmul_precision)
        feeds = {}
        for name, examples in (("train", splits.train), ("val", splits.val), ("test", splits.test)):
            if examples is not None:
                feeds[name] = stack.enter_context(contextlib.closing(open_feed(examples, config, mesh)))
        yield Setup(
            config=config,
            splits=splits,
            feeds=feeds,
            batch_size=batch_size,
            mesh=mesh,
            recipe=recipe,
            schedule=jax.jit(build_schedule(config.optimizer, config.epochs * steps_per_epoch)),
            steps_per_epoch=steps_per_epoch,
            steps_per_dispatch=min(config.steps_per_dispatch, steps_per_epoch),
            selection=selection,
            shardings=shardings,
            train_block=jit_train_block(recipe, shardings, mesh),
            evaluate=jax.jit(functools.partial(evaluate, recipe.model)),
            needs_past=any(set(DISSENT) & set(rule.needs) for rule in selection.rules),
            measurements=build_measurements(selection.rules, recipe, steps_per_epoch),
            estimators=OfflineEstimators(config.estimators, recipe, config, image_shape, mesh, batch_size),
            test_sets=test_sets,
        )


def _check_wandb(mode: str) -> None:
    spec = importlib.util.find_spec("wandb")  # a folder of its logs is a package without an origin
    if mode != "disabled" and (spec is None or spec.origin is None):
        raise UserError(f"wandb.mode is {mode!r}, but wandb is not installed; it must be disabled")


def initialize(setup: Setup, fresh: bool) -> TrainState:
    """The state before the first epoch; pretrained weights are read only by a run that starts `fresh` with them."""
    config, recipe = setup.config, setup.recipe
    image_shape = setup.splits.train.image_shape
    keeps_ema = recipe.ema_decay > 0
    state = create_state(recipe.model, recipe.optimizer, image_shape, config.seed, setup.shardings, keeps_ema)
    return load_pretrained_params(state, config, recipe.model) if fresh else state
