"""Signals that training does not show by itself: what rules have measured after an epoch, and two-peaked alignments.

A rule may need a field that costs passes of its own. Whoever defines the rule brings the measurement: a method
`measure(recipe, state, batches, epoch)` that returns a scalar, and an attribute `batches`, how many training batches it
takes. For the rules of `gwa`, which knows no trainer, MEASUREMENTS holds it.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from datasets.feeds.batches import Batch, Batches
from errors import UserError
from gwa.mixture import fit_two_normals
from gwa.rules import GradientDisparity, LowestSharpness, Rule
from gwa.rules.dissent import DISSENT, measure_hard_dissent
from training.state import TrainState
from training.step import Recipe, cross_entropy, forward, prepare_training_batch

PRONOUNCED = 0.8  # the user is told of a valley this deep
_BINS = 1000
_LEAST_SHARE = 0.05


class Measurement(NamedTuple):
    """A compiled measurement, and the number of batches that it takes."""

    measure: Callable[..., jax.Array]
    batches: int


def build_measurements(rules: Iterable[Rule], recipe: Recipe, steps_per_epoch: int) -> dict[str, Measurement]:
    """The measurements that the rules need, by the field of the record that they fill.

    Raises:
      UserError: when an epoch has fewer batches than a measurement takes.
    """
    compiled: dict[str, Measurement] = {}
    # Rules that bring parameters for a measurement come before those that only read it.
    for rule in sorted(rules, key=lambda rule: not hasattr(rule, "batches")):
        for field in rule.needs:
            if field == rule.needs[0] and hasattr(rule, "measure"):
                source, measure = rule, functools.partial(rule.measure, recipe)
            elif field in MEASUREMENTS and field not in compiled:
                source = rule if hasattr(rule, "batches") else MEASURED_FOR[field]()
                measure = functools.partial(MEASUREMENTS[field], source, recipe)
            else:
                continue
            batches: int = source.batches  # type: ignore[attr-defined]  # only rules that are measured have it
            if batches > steps_per_epoch:
                raise UserError(
                    f"stopping.rules: {rule.name} measures {batches} batches after an epoch, which has "
                    f"{steps_per_epoch}; lower batch_size, or the number of batches of the rule"
                )
            compiled[field] = Measurement(jax.jit(measure), batches)
    return compiled


def gradient_disparity(rule: Any, recipe: Recipe, state: TrainState, batches: Batches, epoch: jax.Array) -> jax.Array:
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


def sharpness(rule: Any, recipe: Recipe, state: TrainState, batches: Batches, epoch: jax.Array) -> jax.Array:
    """Mean over the batches of L(w + r g/‖g‖) − L(w), g the batch's gradient, r the rule's `radius`.

    The first-order maximum of the loss within that radius (sharpness-aware minimisation, Foret et al. 2021, arXiv
    2010.01412, eq. 2), on the images of training.
    """

    def rise(i: jax.Array) -> jax.Array:
        examples, key = prepare_training_batch(recipe, state, batches.at(i), epoch)

        def loss(params: Any) -> jax.Array:
            return jnp.sum(examples["weight"] * _losses(recipe, params, examples, key))

        before, gradient = jax.value_and_grad(loss)(state.params)
        scale = rule.radius / optax.tree.norm(gradient)
        return loss(jax.tree.map(lambda leaf, slope: leaf + scale * slope, state.params, gradient)) - before

    return jnp.mean(jax.lax.map(rise, jnp.arange(len(batches))))


def _losses(recipe: Recipe, params: Any, examples: Batch, key: jax.Array) -> jax.Array:
    logits, _ = forward(recipe, params, examples["images"], key)
    return cross_entropy(logits, examples["targets"])


MEASUREMENTS: dict[str, Callable[..., jax.Array]] = {"gradient_disparity": gradient_disparity, "sharpness": sharpness}
MEASURED_FOR: dict[str, type[Rule]] = {"gradient_disparity": GradientDisparity, "sharpness": LowestSharpness}
"""The rules whose parameters a measurement has where the rule that reads it has none."""


def measure_dissent(
    predictions: np.ndarray, past: np.ndarray, labels: np.ndarray, dissent: np.ndarray
) -> dict[str, float | None]:
    """The fields DISSENT of the record; None in the first epoch, which has no past.

    Args:
      predictions: integers `[N]`, −1 for images that were skipped.
      past: int32 `[N]`, what earlier predictions vote for.
      labels: int32 `[N]`, observed labels.
      dissent: float32 `[N]`, of the samples.
    """
    if not (past >= 0).any():
        return dict.fromkeys(DISSENT)
    values = float(dissent[predictions >= 0].mean(dtype=np.float64)), measure_hard_dissent(predictions, past, labels)
    return dict(zip(DISSENT, values, strict=True))


def is_bimodal(record: Mapping[str, Any]) -> bool:
    """Whether the alignments of an epoch have two peaks with a pronounced valley between them."""
    return (record.get("two_peakedness") or 0) >= PRONOUNCED


def list_bimodal(history: Iterable[Mapping[str, Any]], warmup: float) -> list[int]:
    """The epochs after the share `warmup` of training whose alignments are bimodal."""
    return [record["epoch"] for record in history if record["progress"] > warmup and is_bimodal(record)]


def two_peakedness(scores: np.ndarray) -> float:
    """How deep the valley between two peaks of the scores `[N]` is; in [0, 1], 0 = one peak, 1 = nothing in between.

    A mixture of two normal distributions is fitted to a histogram of the scores; the valley is 1 − the lowest density
    between the two means / the lower density of those at the means. NaN where all scores are equal or one is not
    finite; 0 where one of the two components is a fringe of less than 5 %. Of 100 drawn from one peak, it is
    PRONOUNCED in 0 to 1 % of the draws (normal, exponential, uniform, beta, t); of 50, in 2 to 9 %.
    """
    if not np.isfinite(scores).all() or scores.min() == scores.max():
        return float("nan")
    counts, edges = np.histogram(scores.astype(np.float64), _BINS)
    fit = fit_two_normals((edges[:-1] + edges[1:]) / 2, counts)
    if fit.weights.min() < _LEAST_SHARE:
        return 0.0
    lower, upper = fit.means.tolist()
    density = np.exp(np.logaddexp(*fit.log_parts(np.linspace(lower, upper, 200))))
    return float(1 - density.min() / min(density[0], density[-1]))
