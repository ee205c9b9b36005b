"""Measurements at fixed parameters after an epoch, which cost backward passes: gradient disparity and sharpness."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from datasets.feeds.batches import Batch, Batches
from errors import UserError
from gwa.rules import GradientDisparity, LowestSharpness, Rule
from training.state import TrainState
from training.step import Recipe, cross_entropy, forward, prepare_training_batch


def build_measurements(
    rules: Iterable[Rule], recipe: Recipe, steps_per_epoch: int
) -> dict[str, tuple[Callable[..., jax.Array], int]]:
    """The compiled measurements that the rules read, by the name of their field, each with its number of batches.

    Raises:
      UserError: when an epoch has fewer batches.
    """
    compiled: dict[str, tuple[Callable[..., jax.Array], int]] = {}
    for rule in rules:
        if isinstance(rule, GradientDisparity):
            measure = functools.partial(gradient_disparity, recipe)
        elif isinstance(rule, LowestSharpness):
            measure = functools.partial(sharpness, recipe, radius=rule.radius)
        else:
            continue
        if rule.batches > steps_per_epoch:
            raise UserError(
                f"stopping.{rule.name}.batches is {rule.batches}; it must be at most the {steps_per_epoch} of an epoch"
            )
        compiled[rule.needs[0]] = jax.jit(measure), rule.batches
    return compiled


def gradient_disparity(recipe: Recipe, state: TrainState, batches: Batches, epoch: jax.Array) -> jax.Array:
    """Mean L2 distance between the gradients of all pairs of the batches.

    Each batch's loss is the mean of its samples' cross-entropies divided by their standard deviation (unbiased), which
    is differentiated too; the gradient is that of all parameters, the images are those of training.

    Source: Forouzesh and Thiran 2021, arXiv 2107.06665, eq. 6, with the loss rescaled as in its code.
    """

    def loss(params: Any, examples: Batch, key: jax.Array) -> jax.Array:
        losses, weights = _losses(recipe, params, examples, key), examples["weight"]
        mean, count = jnp.sum(weights * losses), jnp.sum(weights > 0)
        variance = jnp.sum(weights * jnp.square(losses - mean)) * count / (count - 1)
        return mean / jnp.sqrt(variance)

    def gradient(i: jax.Array) -> Any:
        return jax.grad(loss)(state.params, *prepare_training_batch(recipe, state, batches.at(i), epoch))

    gradients = jax.lax.map(gradient, jnp.arange(len(batches)))
    first, second = jnp.array(list(itertools.combinations(range(len(batches)), 2))).T
    distances = jax.lax.map(
        lambda pair: optax.tree.norm(jax.tree.map(lambda leaf: leaf[pair[0]] - leaf[pair[1]], gradients)),
        (first, second),
    )
    return jnp.mean(distances)


def sharpness(
    recipe: Recipe,
    state: TrainState,
    batches: Batches,
    epoch: jax.Array,
    radius: float,
) -> jax.Array:
    """Mean over the batches of L(w + r g/‖g‖) − L(w), g the batch's gradient, r `radius`.

    The first-order maximum of the loss within that radius (sharpness-aware minimisation, Foret et al. 2021, arXiv
    2010.01412, eq. 2), on the images of training.
    """

    def rise(i: jax.Array) -> jax.Array:
        examples, key = prepare_training_batch(recipe, state, batches.at(i), epoch)

        def loss(params: Any) -> jax.Array:
            return jnp.sum(examples["weight"] * _losses(recipe, params, examples, key))

        before, gradient = jax.value_and_grad(loss)(state.params)
        scale = radius / optax.tree.norm(gradient)
        return loss(jax.tree.map(lambda leaf, slope: leaf + scale * slope, state.params, gradient)) - before

    return jnp.mean(jax.lax.map(rise, jnp.arange(len(batches))))


def _losses(recipe: Recipe, params: Any, examples: Batch, key: jax.Array) -> jax.Array:
    logits, _ = forward(recipe, params, examples["images"], key)
    return cross_entropy(logits, examples["targets"])
