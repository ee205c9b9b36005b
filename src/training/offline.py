"""Alignments at fixed parameters: the estimators that need another pass over the training set."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from datasets.feeds.augment import Augmentation
from datasets.feeds.batches import Batch, Batches, Gathered
from datasets.feeds.order import cut_into_blocks, cut_into_one_block, shuffle_rows
from errors import UserError
from gwa import head_alignment
from gwa.moment_arithmetic import summarize_alignments
from parallel import devices
from training.estimators import (
    FULL,
    LAYERS,
    OFFLINE,
    OFFLINE_TRAIN,
    TEXTBOOK,
    check_names,
    layer_pattern,
)
from training.state import TrainState
from training.step import Recipe, cross_entropy, forward, prepare_training_batch, train_step

# Per-sample gradients of a micro-batch on one device: at most 2^26 numbers, 256 MiB, and no more samples than pay off.
_GRADIENT_NUMBERS, _GRADIENT_SAMPLES = 2**26, 64

Scores = dict[str, jax.Array]


class Pass(NamedTuple):
    """An estimator: its compiled function, its batch size, and whether it uses the batches of training."""

    scores: Callable[..., Scores]
    batch_size: int
    as_trained: bool = False


class OfflineEstimators:
    """The estimators of a run that take a pass of their own over the training set."""

    def __init__(
        self,
        names: Iterable[str],
        recipe: Recipe,
        config: Any,
        image_shape: tuple[int, ...],
        mesh: jax.sharding.Mesh,
        batch_size: int,
    ):
        """Chooses the estimators; they are compiled when they are first used.

        Args:
          names: `config.estimators`; `textbook`, which the training step computes, is ignored.
          recipe: of training; the optimizer is not used.
          config: of the run; reads `seed` and `eval_batch_size`.
          image_shape: height, width, channels.
          mesh: the devices.
          batch_size: of training.

        Raises:
          UserError: for an unknown name, or a pattern that matches no parameter.
        """
        self._seed, self._mesh = config.seed, mesh
        self._passes = {}
        for name in check_names(names):
            pattern = layer_pattern(name)
            if name == OFFLINE:
                scores = functools.partial(evaluation_scores, recipe)
                size = devices.choose_eval_batch_size(config.eval_batch_size, mesh)
            elif name == OFFLINE_TRAIN:
                scores, size = functools.partial(training_scores, recipe), batch_size
            elif name == FULL or pattern is not None:
                groups, size = _groups(pattern, _parameter_sizes(recipe, image_shape), mesh.size)
                scores = functools.partial(gradient_scores, recipe, groups)
            else:
                assert name == TEXTBOOK
                continue
            self._passes[name] = Pass(jax.jit(scores), size, name == OFFLINE_TRAIN)

    def measure(
        self, state: TrainState, data: Batch, epoch: int
    ) -> tuple[dict[str, np.ndarray], dict[str, dict[str, float]]]:
        """The estimates at the state after an epoch.

        Returns:
          By the name of the estimate, the alignments float32 `[N]` in row order; and GWA with its parts and the seconds
          that the estimator took (for all layers together, as `layers_seconds`).
        """
        samples: dict[str, np.ndarray] = {}
        estimates: dict[str, dict[str, float]] = {}
        for name, one in self._passes.items():
            started = time.perf_counter()
            fetched = self._in_row_order(one, state, data, epoch)
            seconds = {f"{name.partition('=')[0]}_seconds": time.perf_counter() - started}
            samples |= fetched
            estimates |= {
                estimate: summarize_alignments(alignments) | seconds for estimate, alignments in fetched.items()
            }
        return samples, estimates

    def _in_row_order(self, one: Pass, state: TrainState, data: Batch, epoch: int) -> dict[str, np.ndarray]:
        size = len(data["label"])
        order = shuffle_rows(size, self._seed, epoch) if one.as_trained else np.arange(size)
        if one.as_trained:  # in training's own batches
            ((rows, mask, _),) = cut_into_blocks(order, one.batch_size, -(-size // one.batch_size))
        else:
            rows, mask = cut_into_one_block(order, one.batch_size, self._mesh.size)
        on_device = devices.place((rows, mask), devices.batch_sharding(self._mesh))
        number = devices.place(np.int32(epoch), devices.replicated_sharding(self._mesh))
        fetched = devices.fetch(one.scores(state, Gathered(data, *on_device), number))
        position = np.argsort(order)
        return {name: values.ravel()[:size][position] for name, values in fetched.items()}


def evaluation_scores(recipe: Recipe, state: TrainState, batches: Batches, epoch: jax.Array) -> Scores:
    """The head's alignment of every sample of the batches, `[steps, B]`, as evaluation sees it."""

    def alignment(i: jax.Array) -> jax.Array:
        examples = prepare_evaluation_batch(recipe, state, batches.at(i), epoch)
        logits, embeddings = forward(recipe, state.params, examples["images"], None)
        head = state.params["head"]
        return head_alignment(logits, examples["targets"], embeddings, head["kernel"], head.get("bias"))

    return {OFFLINE: jax.lax.map(alignment, jnp.arange(len(batches)))}


def training_scores(recipe: Recipe, state: TrainState, batches: Batches, epoch: jax.Array) -> Scores:
    """The alignments of the epoch that ended with `state`, if no step of it had updated the parameters."""
    frozen = dataclasses.replace(recipe, optimizer=optax.set_to_zero())
    first = state.step - len(batches)

    def alignment(i: jax.Array) -> jax.Array:
        as_then = TrainState(state.params, optax.EmptyState(), first + i, state.rng)
        _, metrics = train_step(frozen, as_then, batches.at(i), epoch)
        return metrics["alignment"]  # XLA removes everything else that the step computes, above all the gradient

    return {OFFLINE_TRAIN: jax.lax.map(alignment, jnp.arange(len(batches)))}


def gradient_scores(
    recipe: Recipe,
    groups: Mapping[str, tuple[str, ...]],
    state: TrainState,
    batches: Batches,
    epoch: jax.Array,
) -> Scores:
    """Cosine between each sample's negative gradient and the parameters, by automatic differentiation.

    Args:
      recipe: static under jit.
      groups: by the estimate's name, the paths of the parameters that together make one vector.
      state, epoch: as for the others.
      batches: micro-batches; the gradients of all samples of one are in memory at a time.

    Returns:
      float32 `[steps, B]` for each group; 0 where the gradient or the parameters are 0.
    """
    parameters = flatten_dict(state.params, sep="/")
    wanted = {path: parameters[path] for paths in groups.values() for path in paths}

    def loss(arrays: dict[str, jax.Array], image: jax.Array, target: jax.Array) -> jax.Array:
        params = unflatten_dict(parameters | arrays, sep="/")
        logits, _ = forward(recipe, params, image[None], None)
        return _parallel_loss(logits, target[None])

    def cosines(image: jax.Array, target: jax.Array) -> Scores:
        gradient = jax.grad(loss)(wanted, image, target)
        return {
            name: _negative_cosine([gradient[path] for path in paths], [wanted[path] for path in paths])
            for name, paths in groups.items()
        }

    def scores(i: jax.Array) -> Scores:
        examples = prepare_evaluation_batch(recipe, state, batches.at(i), epoch)
        return jax.vmap(cosines)(examples["images"], examples["targets"])

    return jax.lax.map(scores, jnp.arange(len(batches)))


def prepare_evaluation_batch(recipe: Recipe, state: TrainState, batch: Batch, epoch: jax.Array) -> Batch:
    """As `prepare_training_batch`, without augmentation; the targets are still smoothed where the loss smooths them."""
    examples, _ = prepare_training_batch(dataclasses.replace(recipe, augmentation=Augmentation()), state, batch, epoch)
    return examples


def _parallel_loss(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """A loss of one sample whose gradient has the direction of the cross-entropy's.

    For class indices the cross-entropy is softplus(m) with m = logsumexp_{j≠y}(logits) − logits_y. Its gradient is that
    of m times a positive number, which vanishes for well fitted samples; the gradient of m does not vanish.
    """
    if not jnp.issubdtype(targets.dtype, jnp.integer):
        return jnp.sum(cross_entropy(logits, targets))
    is_label = jax.nn.one_hot(targets, logits.shape[-1], dtype=bool)
    return jax.nn.logsumexp(logits, where=~is_label) - jnp.sum(jnp.where(is_label, logits, 0))


def _negative_cosine(gradient: list[jax.Array], parameters: list[jax.Array]) -> jax.Array:
    product = sum(jnp.sum(g * w) for g, w in zip(gradient, parameters, strict=True))
    norms = optax.tree.norm(gradient) * optax.tree.norm(parameters)
    return jnp.where(norms > 0, -product / jnp.where(norms > 0, norms, 1), 0)


def _parameter_sizes(recipe: Recipe, image_shape: tuple[int, ...]) -> dict[str, int]:
    """The size of each parameter array, by its path."""
    shapes = jax.eval_shape(recipe.model.init, jax.random.key(0), jnp.zeros((1, *image_shape)))["params"]
    return {path: math.prod(leaf.shape) for path, leaf in flatten_dict(shapes, sep="/").items()}


def _groups(pattern: str | None, sizes: dict[str, int], num_devices: int) -> tuple[dict[str, tuple[str, ...]], int]:
    """For `gradient_scores`: the groups of one estimator, and the number of samples in a micro-batch."""
    paths = tuple(path for path in sizes if pattern is None or re.fullmatch(pattern, path))
    if not paths:
        raise UserError(
            f"estimators: no parameter's path matches {pattern!r}; the paths are such as {', '.join(list(sizes)[:2])}"
        )
    groups: dict[str, tuple[str, ...]] = {FULL: paths}
    if pattern is not None:
        groups = {f"{LAYERS}/{path}": (path,) for path in paths}
    fitting = _GRADIENT_NUMBERS // sum(sizes[path] for path in paths)
    return groups, num_devices * min(max(fitting, 1), _GRADIENT_SAMPLES)
