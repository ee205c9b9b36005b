"""Gradient disparity and sharpness against explicit autodiff, batch by batch."""

import itertools
from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from datasets.feeds.augment import Augmentation, normalize
from datasets.feeds.batches import Gathered
from datasets.feeds.order import cut_into_blocks
from errors import UserError
from gwa.rules import GradientDisparity, Last, LowestSharpness
from training import signals
from training.state import create_state
from training.step import Recipe

ROWS = 23  # the last batch of four is not full


class Perceptron(nn.Module):
    @nn.compact
    def __call__(self, images, *, train=False):
        hidden = nn.tanh(nn.Dense(8)(images.reshape(len(images), -1)))
        self.sow("latent_embeddings", "embeddings", hidden)
        return nn.Dense(4, name="head")(hidden)


@pytest.fixture(scope="module")
def setting():
    recipe = Recipe(Perceptron(), optax.sgd(0.1), Augmentation(), num_classes=4)
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    rng = np.random.default_rng(0)
    data = {
        "image": jnp.asarray(rng.integers(0, 256, (ROWS, 4, 4, 1), dtype=np.uint8)),
        "label": jnp.asarray(rng.integers(0, 4, ROWS, dtype=np.int32)),
    }
    ((rows, mask, _),) = cut_into_blocks(rng.permutation(ROWS), 6, 4)
    batches = [rows[i][mask[i] > 0] for i in range(4)]
    return SimpleNamespace(
        recipe=recipe,
        state=create_state(recipe.model, recipe.optimizer, (4, 4, 1), 0, device),
        block=(Gathered(data, rows, mask), jnp.int32(1)),
        batches=[(normalize(data["image"][batch]), data["label"][batch]) for batch in batches],
    )


def losses(setting, params, images, labels):
    logits = setting.recipe.model.apply({"params": params}, images)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def test_gradient_disparity_is_the_mean_distance_of_all_pairs(setting):
    def rescaled(params, images, labels):
        each = losses(setting, params, images, labels)
        return jnp.mean(each / jnp.std(each, ddof=1))

    gradients = []
    for images, labels in setting.batches:
        gradient = jax.jit(jax.grad(rescaled))(setting.state.params, images, labels)
        gradients.append(np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(gradient)]))
    expected = np.mean([np.linalg.norm(a - b) for a, b in itertools.combinations(gradients, 2)])
    measure, batches = signals.build_measurements([GradientDisparity(batches=4)], setting.recipe, 4)[
        "gradient_disparity"
    ]
    assert batches == 4
    assert float(measure(setting.state, *setting.block)) == pytest.approx(expected, rel=1e-5)


def test_sharpness_is_the_rise_of_the_loss_one_step_up(setting):
    rises = []
    for images, labels in setting.batches:

        def loss(params, images=images, labels=labels):
            return losses(setting, params, images, labels).mean()

        before, gradient = jax.jit(jax.value_and_grad(loss))(setting.state.params)
        norm = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(gradient)))
        up = jax.tree.map(lambda leaf, slope, norm=norm: leaf + 0.3 * slope / norm, setting.state.params, gradient)
        rises.append(float(loss(up) - before))
    measure, _ = signals.build_measurements([LowestSharpness(batches=4, radius=0.3)], setting.recipe, 4)["sharpness"]
    assert float(measure(setting.state, *setting.block)) == pytest.approx(np.mean(rises), rel=1e-4)


def test_nothing_is_measured_unasked(setting):
    assert signals.build_measurements([Last()], setting.recipe, 4) == {}
    with pytest.raises(UserError, match=r"gradient_disparity\.batches is 5; it must be at most 4"):
        signals.build_measurements([GradientDisparity()], setting.recipe, 4)
