"""The training step, evaluation, and blocks of steps that are dispatched together: pure functions."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

import networks
from datasets.feeds.augment import Augmentation, augment_images, mix, normalize
from datasets.feeds.batches import Batch, Batches
from gwa import Moments, gwa_score, head_alignment, head_gradient_norm
from gwa.alignment import prediction_entropy
from gwa.rules.dissent import sample_dissent
from parallel import devices
from training.estimators import TEXTBOOK, textbook_alignment
from training.optimizer import build_optimizer
from training.sample_values import measure_samples
from training.state import TrainState

# Training draws from four streams of the run's key; initialisation is the first.
_AUGMENT, _MIX, _DROPOUT = 1, 2, 3

Metrics = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a training step needs to know besides state and batch.

    Attributes:
      model: a network that sows `latent_embeddings` before its layer `head`.
      optimizer: an optax chain.
      augmentation: random changes of the training images.
      num_classes: of the data set.
      label_smoothing: share of each target that is spread evenly over all classes.
      accumulation_steps: number of parts in which a batch is computed.
      ema_decay: share of the moving average of the parameters that a step keeps; 0 if there is none.
      textbook_dtype: compute dtype of the estimator `textbook`; None if the run does not record it.
      sample_values: further values of each sample that the run records, of `training.sample_values`.
    """

    model: nn.Module
    optimizer: optax.GradientTransformation
    augmentation: Augmentation
    num_classes: int
    label_smoothing: float = 0.0
    accumulation_steps: int = 1
    ema_decay: float = 0.0
    textbook_dtype: str | None = None
    sample_values: tuple[str, ...] = ()


def build_recipe(config: Any, num_classes: int, total_steps: int) -> Recipe:
    """The recipe that a config describes.

    Args:
      config: of the run.
      num_classes: of the data set.
      total_steps: updates that the whole run will make.

    Raises:
      UserError: a field has an impossible value, or two contradict each other.
    """
    steps_forgotten = config.optimizer.ema * total_steps / config.epochs
    return Recipe(
        model=networks.build(config.network, num_classes),
        optimizer=build_optimizer(config.optimizer, total_steps),
        augmentation=Augmentation.from_config(config.augment),
        num_classes=num_classes,
        label_smoothing=config.loss.label_smoothing,
        accumulation_steps=config.optimizer.accumulation_steps,
        ema_decay=math.exp(-1 / steps_forgotten) if steps_forgotten else 0.0,
        textbook_dtype=config.network.compute_dtype if TEXTBOOK in config.estimators else None,
        sample_values=config.record,
    )


class Running(NamedTuple):
    """The moments of an epoch's alignments so far, and how many predictions were right."""

    moments: Moments
    correct: jax.Array

    @classmethod
    def start(cls) -> "Running":
        """Before the first step of an epoch: zeros, for which nothing has to be compiled."""
        return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), _shapes_of_running())

    def plus(self, metrics: Metrics, labels: jax.Array, mask: jax.Array) -> "Running":
        """After one more step."""
        right = jnp.sum(mask * (metrics["prediction"] == labels))
        return Running(self.moments + Moments.of(metrics["alignment"], where=mask), self.correct + right)

    def summary(self) -> Metrics:
        """GWA and training accuracy of the epoch so far."""
        return {"gwa": gwa_score(self.moments), "train_accuracy": self.correct / self.moments.count}


@functools.cache
def _shapes_of_running() -> Running:
    return jax.eval_shape(lambda: Running(Moments.of(jnp.zeros(0)), jnp.float32(0)))


def train_step(
    recipe: Recipe, state: TrainState, batch: Batch, epoch: jax.Array, past: jax.Array | None = None
) -> tuple[TrainState, Metrics]:
    """One update, and the alignment of every sample with the same parameters that produced its gradient.

    Args:
      recipe: static under jit.
      state: before the update.
      batch: `image` uint8 `[B, H, W, C]`, `label` int32 `[B]`, `index` int32 `[B]` (rows of the training set) and
        `mask` float32 `[B]`, 0 for rows that only fill up the batch.
      epoch: from 1; an image's augmentation depends on it, on the row, and on the run's key.
      past: int32 `[N]`, the class that earlier predictions of each training sample vote for (see `gwa.rules.dissent`),
        or None if no rule needs dissent.

    Returns:
      The state after the update, and the metrics: `alignment` float32 `[B]` and `prediction` int32 `[B]`, meaningless
      where the mask is 0; means over the batch: `loss`, `prediction_entropy` (nats) and `head_gradient_norm`; and
      `gradient_norm`, of the batch's mean gradient over all parameters, before any clipping. With `past` there is
      `dissent` float32 `[B]`, and there are the recipe's sample values.
    """
    examples, dropout_key = prepare_training_batch(recipe, state, batch, epoch)
    if past is not None:
        examples |= {"past": past[batch["index"]]}

    def loss_and_metrics(params: Any, part: Batch, key: jax.Array) -> tuple[jax.Array, Metrics]:
        logits, embeddings = forward(recipe, params, part["images"], key)
        targets, weights = part["targets"], part["weight"]
        losses = cross_entropy(logits, targets)
        loss = jnp.sum(weights * losses)
        head = params["head"]
        metrics = {
            "loss": loss,
            "prediction_entropy": jnp.sum(weights * prediction_entropy(logits, targets)),
            "head_gradient_norm": jnp.sum(weights * head_gradient_norm(logits, targets, embeddings)),
            "alignment": head_alignment(logits, targets, embeddings, head["kernel"], head.get("bias")),
            "prediction": jnp.argmax(logits, -1).astype(jnp.int32),
            **measure_samples(recipe.sample_values, logits, targets, part["label"], losses),
        }
        if "past" in part:
            metrics["dissent"] = sample_dissent(logits, part["past"], part["label"])
        if recipe.textbook_dtype:
            metrics[TEXTBOOK] = textbook_alignment(logits, targets, embeddings, head["kernel"], recipe.textbook_dtype)
        return loss, metrics

    gradient_of = jax.grad(loss_and_metrics, has_aux=True)
    if recipe.accumulation_steps == 1:
        gradient, metrics = gradient_of(state.params, examples, dropout_key)
    else:
        gradient, metrics = _accumulate_gradient(
            gradient_of, state.params, examples, dropout_key, recipe.accumulation_steps
        )
    metrics["gradient_norm"] = optax.tree.norm(gradient)
    updates, opt_state = recipe.optimizer.update(gradient, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return TrainState(params, opt_state, state.step + 1, state.rng, _average(recipe, state, params)), metrics


def _average(recipe: Recipe, state: TrainState, params: Any) -> Any:
    """The moving average after a step; it forgets faster at first, as it begins with random parameters."""
    if state.ema is None:
        return None
    decay = jnp.minimum(recipe.ema_decay, (1 + state.step) / (10 + state.step))
    return jax.tree.map(lambda average, new: decay * average + (1 - decay) * new, state.ema, params)


def prepare_training_batch(
    recipe: Recipe, state: TrainState, batch: Batch, epoch: jax.Array
) -> tuple[Batch, jax.Array]:
    """Augments and mixes a batch: `images`, `targets`, `label`, `weight` (0: padding; sum 1); dropout's key."""
    epoch_key = jax.random.fold_in(jax.random.fold_in(state.rng, _AUGMENT), epoch)
    keys = jax.vmap(lambda row: jax.random.fold_in(epoch_key, row))(batch["index"])
    images = normalize(augment_images(batch["image"], keys, recipe.augmentation))
    images, targets = _mix_examples(recipe, images, batch, jax.random.fold_in(state.rng, _MIX), state.step)
    weights = batch["mask"] / jnp.maximum(jnp.sum(batch["mask"]), 1)
    examples = {"images": images, "targets": targets, "weight": weights, "label": batch["label"]}
    return examples, jax.random.fold_in(jax.random.fold_in(state.rng, _DROPOUT), state.step)


def forward(
    recipe: Recipe, params: Any, images: jax.Array, dropout_key: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Logits and embeddings of a forward pass: as in training, or as in evaluation if there is no key for dropout."""
    mode = {"train": False} if dropout_key is None else {"train": True, "rngs": {"dropout": dropout_key}}
    logits, variables = recipe.model.apply({"params": params}, images, mutable=["latent_embeddings"], **mode)
    (embeddings,) = jax.tree.leaves(variables["latent_embeddings"])
    return logits, embeddings


def train_block(
    recipe: Recipe,
    state: TrainState,
    running: Running,
    batches: Batches,
    count: int | jax.Array,
    epoch: jax.Array,
    past: jax.Array | None = None,
) -> tuple[TrainState, Running, Metrics, Metrics]:
    """Trains on the first `count` of the batches, in one dispatch.

    Returns the state, the running moments and their summary, and the metrics of the steps, stacked.
    """

    def step(i: jax.Array, carry: tuple[TrainState, Running, Metrics]) -> tuple[TrainState, Running, Metrics]:
        state, running, stacked = carry
        batch = batches.at(i)
        state, metrics = train_step(recipe, state, batch, epoch, past)
        stacked = jax.tree.map(lambda all_steps, this: all_steps.at[i].set(this), stacked, metrics)
        return state, running.plus(metrics, batch["label"], batch["mask"]), stacked

    _, shapes = jax.eval_shape(lambda: train_step(recipe, state, batches.at(0), epoch, past))
    stacked = jax.tree.map(lambda shape: jnp.zeros((len(batches), *shape.shape), shape.dtype), shapes)
    state, running, stacked = jax.lax.fori_loop(0, count, step, (state, running, stacked))
    return state, running, running.summary(), stacked


def jit_train_block(recipe: Recipe, state_shardings: Any, mesh: Mesh) -> Any:
    """`train_block`, to be compiled for the devices of a mesh; state and running moments are donated.

    Its numbers are those of `block_numbers`.
    """
    everywhere = devices.replicated_sharding(mesh)
    outputs = (state_shardings, everywhere, everywhere, None)
    static = ("count",) if _fixes_count() else ()
    block = functools.partial(train_block, recipe)
    return jax.jit(block, donate_argnums=(0, 1), out_shardings=outputs, static_argnames=static)


def block_numbers(count: int, epoch: int, mesh: Mesh) -> tuple[int | jax.Array, jax.Array]:
    """`count` and `epoch` as a jitted `train_block` takes them."""
    everywhere = devices.replicated_sharding(mesh)
    if _fixes_count():
        return count, devices.place(np.int32(epoch), everywhere)
    return devices.place((np.int32(count), np.int32(epoch)), everywhere)


def _fixes_count() -> bool:
    """Whether each number of steps has a program of its own.

    Where a loop's length is not known to XLA, the host of an accelerator waits for every step to hear whether another
    one follows. A CPU waits for nothing, and a second program, for the last block of an epoch, takes seconds.
    """
    return jax.default_backend() != "cpu"


def evaluate(model: nn.Module, params: Any, batches: Batches) -> Metrics:
    """Sums over all rows of the batches whose mask is 1, each counted once.

    `loss`, `correct` and `count` are of all rows, `even_correct` and `even_count` of those with even numbers.
    """

    def step(totals: jax.Array, i: jax.Array) -> tuple[jax.Array, None]:
        batch = batches.at(i)
        logits = cast(jax.Array, model.apply({"params": params}, normalize(batch["image"])))
        loss = cross_entropy(logits, batch["label"])
        correct = jnp.argmax(logits, axis=-1) == batch["label"]
        even = batch["index"] % 2 == 0
        values = (loss, correct, 1.0, even * correct, even)
        return totals + jnp.stack([jnp.sum(batch["mask"] * value) for value in values]), None

    totals, _ = jax.lax.scan(step, jnp.zeros(5), jnp.arange(len(batches)))
    return dict(zip(("loss", "correct", "count", "even_correct", "even_count"), totals, strict=True))


def _mix_examples(
    recipe: Recipe, images: jax.Array, batch: Batch, key: jax.Array, step: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Images and targets after mixup, cutmix and label smoothing; without any of these the labels stay integers."""
    mixes = recipe.augmentation.mixup or recipe.augmentation.cutmix
    if not mixes and not recipe.label_smoothing:
        return images, batch["label"]
    targets = optax.smooth_labels(jax.nn.one_hot(batch["label"], recipe.num_classes), recipe.label_smoothing)
    if not mixes:
        return images, targets
    return mix(images, targets, batch["mask"], jax.random.fold_in(key, step), recipe.augmentation)


def cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Of each sample, `[B]`; targets are class indices `[B]` or distributions `[B, classes]`."""
    if jnp.issubdtype(targets.dtype, jnp.integer):
        return optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    return optax.softmax_cross_entropy(logits, targets)


def _accumulate_gradient(
    gradient_of: Callable, params: Any, examples: Batch, key: jax.Array, parts: int
) -> tuple[Any, Metrics]:
    """Gradient and metrics of the whole batch, computed part by part."""

    # Part i takes every parts-th sample from i on, so that each part is spread over all devices as the batch is.
    def split(x: jax.Array) -> jax.Array:
        return jnp.swapaxes(x.reshape(len(x) // parts, parts, *x.shape[1:]), 0, 1)

    def add_part(total: Any, part: tuple[Batch, jax.Array]) -> tuple[Any, Metrics]:
        gradient, metrics = gradient_of(params, *part)
        return jax.tree.map(jnp.add, total, gradient), metrics

    zeros = jax.tree.map(jnp.zeros_like, params)
    gradient, metrics = jax.lax.scan(add_part, zeros, (jax.tree.map(split, examples), jax.random.split(key, parts)))
    # The shares of single numbers add up; values of samples go back to their places in the batch.
    return gradient, {
        name: jnp.sum(value) if value.ndim == 1 else jnp.swapaxes(value, 0, 1).ravel()
        for name, value in metrics.items()
    }
