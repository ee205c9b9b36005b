"""Gradient disparity and sharpness against explicit autodiff, batch by batch."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from errors import UserError
from gwa.rules import GradientDisparity, Last, LowestSharpness, Rule
from training import signals


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
    with pytest.raises(UserError, match=r"gradient_disparity measures 5 batches after an epoch, which has 4; lower"):
        signals.build_measurements([GradientDisparity()], setting.recipe, 4)


class ReadsBoth(Rule):
    name = "reads_both"
    needs = ("gwa", "sharpness", "gradient_disparity")


@pytest.mark.parametrize("first", [True, False])
def test_a_rule_may_read_what_is_measured_for_others(setting, first):
    """With their parameters if they are followed too, or else with the defaults."""
    rules = [ReadsBoth(), LowestSharpness(batches=3)]
    measured = signals.build_measurements(rules[:: 1 if first else -1], setting.recipe, 5)
    assert {field: batches for field, (_, batches) in measured.items()} == {"sharpness": 3, "gradient_disparity": 5}
