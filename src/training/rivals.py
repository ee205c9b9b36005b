"""Further published signals to compare GWA with. A config names such a rule as `training.rivals:LowestBatchGradient`.

They are rules from outside `gwa`, as a user's own would be: each brings its measurement, which takes a few training
batches after an epoch. `docs/rules.md` says what they are worth.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax

from datasets.feeds.batches import Batches
from gwa.rules import Record, TrainingSignal
from training.state import TrainState
from training.step import Recipe, cross_entropy, forward, prepare_training_batch

_RANDOM_LABELS = 4  # a stream of the run's key beside those of training.step


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Measured(TrainingSignal):
    """Attributes: batches: how many training batches the measurement takes after an epoch."""

    batches: int = 5
    smallest: ClassVar[bool] = True

    def measure(self, recipe: Recipe, state: TrainState, batches: Batches, epoch: jax.Array) -> jax.Array:
        """The mean of `measure_batch` over the batches."""

        def measure_one(i: jax.Array) -> jax.Array:
            batch = batches.at(i)
            examples, key = prepare_training_batch(recipe, state, batch, epoch)
            return self.measure_batch(recipe, state, examples | {"index": batch["index"]}, key)

        return jnp.mean(jax.lax.map(measure_one, jnp.arange(len(batches))))

    def measure_batch(self, recipe: Recipe, state: TrainState, examples: Any, key: jax.Array) -> jax.Array:
        """The signal on one augmented batch: `images`, `targets`, `weight` and `index`; `key` is that of dropout."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, kw_only=True)
class LowestBatchGradient(_Measured):
    """The epoch of the lowest norm of a batch's mean gradient at the head's kernel, ‖Zᵀ(P − Y)/B‖ / ‖Z‖.

    The division by the Frobenius norm of the embeddings is the paper's for transformers and modern convolutional
    networks. The paper chooses among the last epochs alone; `warmup` says here which are left out.

    Source: "No Validation, No Problem", arXiv 2601.16874.
    """

    name: ClassVar[str] = "lowest_batch_gradient"
    needs: ClassVar[tuple[str, ...]] = ("batch_gradient", "progress")

    def measure_batch(self, recipe: Recipe, state: TrainState, examples: Any, key: jax.Array) -> jax.Array:
        """See the class."""
        logits, embeddings = forward(recipe, state.params, examples["images"], key)
        weights = examples["weight"][:, None]
        residuals = jax.nn.softmax(logits) - _as_distributions(recipe, examples["targets"])
        return jnp.linalg.norm(embeddings.T @ (weights * residuals)) / jnp.linalg.norm(embeddings * (weights > 0))


@dataclasses.dataclass(frozen=True, kw_only=True)
class LowestTopTwoEntropy(_Measured):
    """The epoch of the lowest mean entropy of p₁ / (p₁ + p₂) and p₂ / (p₁ + p₂), the two most probable classes.

    Source: openreview.net, forum uv35Ndww94.
    """

    name: ClassVar[str] = "lowest_top_two_entropy"
    needs: ClassVar[tuple[str, ...]] = ("top_two_entropy", "progress")

    def measure_batch(self, recipe: Recipe, state: TrainState, examples: Any, key: jax.Array) -> jax.Array:
        """See the class."""
        logits, _ = forward(recipe, state.params, examples["images"], key)
        log_shares = jax.nn.log_softmax(jax.lax.top_k(logits, 2)[0])
        return -jnp.sum(examples["weight"] * jnp.sum(jnp.exp(log_shares) * log_shares, axis=-1))


@dataclasses.dataclass(frozen=True, kw_only=True)
class AccuracyPerSusceptibility(_Measured):
    """The epoch of the largest training accuracy / susceptibility.

    Susceptibility is how much one step on a batch with random labels lowers the loss on that batch: high where a
    network memorises readily. The paper prefers networks of high training accuracy and low susceptibility; the
    quotient is ours. The step goes down the gradient by the distance `radius`, whatever the learning rate is.

    Source: Forouzesh et al. 2023, arXiv 2212.04461.
    """

    batches: int = 1
    radius: float = 0.05

    name: ClassVar[str] = "accuracy_per_susceptibility"
    needs: ClassVar[tuple[str, ...]] = ("susceptibility", "train_accuracy", "progress")
    smallest: ClassVar[bool] = False

    def measure_batch(self, recipe: Recipe, state: TrainState, examples: Any, key: jax.Array) -> jax.Array:
        """See the class."""
        labels = draw_random_labels(state.rng, examples["index"], recipe.num_classes)

        def loss(params: Any) -> jax.Array:
            logits, _ = forward(recipe, params, examples["images"], key)
            return jnp.sum(examples["weight"] * cross_entropy(logits, labels))

        before, gradient = jax.value_and_grad(loss)(state.params)
        scale = self.radius / optax.tree.norm(gradient)
        return before - loss(jax.tree.map(lambda leaf, slope: leaf - scale * slope, state.params, gradient))

    def _value(self, record: Record) -> float | None:
        susceptibility, accuracy = super()._value(record), record.get("train_accuracy")
        return accuracy / susceptibility if susceptibility and accuracy is not None else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class LowestLeaveOneOutLoss(_Measured):
    """The epoch of the lowest cross-entropy of leave-one-out predictions at the head, the embeddings held fixed.

    Leaving out sample i moves its logits by vᵢ (pᵢ − yᵢ), to first order, with vᵢ = zᵢᵀ (Σⱼ wⱼ zⱼ zⱼᵀ)⁻¹ zᵢ and wⱼ the
    mean over the classes of p (1 − p). The sum over the training set is estimated from `batches` batches, which
    together must have more samples than the embeddings have features.

    Source: Nickl et al. 2023, arXiv 2310.19273, at the last layer.
    """

    name: ClassVar[str] = "lowest_leave_one_out_loss"
    needs: ClassVar[tuple[str, ...]] = ("leave_one_out_loss", "progress")

    def measure(self, recipe: Recipe, state: TrainState, batches: Batches, epoch: jax.Array) -> jax.Array:
        """See the class."""

        def predict(i: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
            examples, key = prepare_training_batch(recipe, state, batches.at(i), epoch)
            logits, embeddings = forward(recipe, state.params, examples["images"], key)
            return logits, embeddings, _as_distributions(recipe, examples["targets"]), batches.at(i)["mask"]

        outputs = jax.lax.map(predict, jnp.arange(len(batches)))
        logits, embeddings, targets, mask = (array.reshape(-1, *array.shape[2:]) for array in outputs)
        steps_per_epoch = state.step / epoch
        losses = leave_one_out_losses(logits, targets, embeddings, mask, len(batches) / steps_per_epoch)
        return jnp.sum(mask * losses) / jnp.sum(mask)


def draw_random_labels(key: jax.Array, rows: jax.Array, num_classes: int) -> jax.Array:
    """A uniformly random class for each row of the training set, int32 `[B]`; the same in every epoch of a run."""
    stream = jax.random.fold_in(key, _RANDOM_LABELS)
    draw = jax.vmap(lambda row: jax.random.randint(jax.random.fold_in(stream, row), (), 0, num_classes))
    return draw(rows)


def leave_one_out_losses(
    logits: jax.Array, targets: jax.Array, embeddings: jax.Array, mask: jax.Array, share: jax.Array | float
) -> jax.Array:
    """The cross-entropy of each sample's leave-one-out logits, float32 `[n]`; see LowestLeaveOneOutLoss.

    Args:
      logits, targets: float32 `[n, classes]`.
      embeddings: float32 `[n, features]`.
      mask: float32 `[n]`, 0 for rows that do not count.
      share: which share of the training set the n samples are.
    """
    probabilities = jax.nn.softmax(logits)
    weights = mask * jnp.mean(probabilities * (1 - probabilities), axis=-1)
    curvature = embeddings.T @ (weights[:, None] * embeddings) / share
    ridge = 1e-6 * jnp.trace(curvature) / len(curvature)  # embeddings may span less than all features
    solved = jnp.linalg.solve(curvature + ridge * jnp.eye(len(curvature)), embeddings.T)
    sensitivity = jnp.sum(embeddings * solved.T, axis=-1)
    return cross_entropy(logits + sensitivity[:, None] * (probabilities - targets), targets)


def _as_distributions(recipe: Recipe, targets: jax.Array) -> jax.Array:
    return jax.nn.one_hot(targets, recipe.num_classes) if targets.ndim == 1 else targets


RIVALS: dict[str, type[TrainingSignal]] = {
    rule.name: rule
    for rule in (LowestBatchGradient, LowestTopTwoEntropy, AccuracyPerSusceptibility, LowestLeaveOneOutLoss)
}
"""The rules of this file by name."""
