"""Positions and pooling of the Vision Transformer against independent computations."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparison import assert_same_function, random

import networks
from networks import vit


def test_sincos2d_entry_by_entry():
    height, width, channels = 3, 5, 12
    expected = np.zeros((height, width, channels))
    for y in range(height):
        for x in range(width):
            for i in range(3):  # a quarter of the channels
                frequency = 10000.0 ** -(i / 2)
                expected[y, x, [i, 3 + i, 6 + i, 9 + i]] = [
                    math.sin(frequency * x),
                    math.cos(frequency * x),
                    math.sin(frequency * y),
                    math.cos(frequency * y),
                ]
    np.testing.assert_allclose(vit.sincos2d(height, width, channels), expected.reshape(-1, channels), atol=1e-6)


def test_attention_equals_the_flax_module():
    queries, tokens = random(2, 3, 12), random(2, 7, 12, seed=1)
    ours, plain = vit.Attention(4), nn.MultiHeadDotProductAttention(4)
    shapes = jax.eval_shape(ours.init, jax.random.key(0), queries, tokens)["params"]
    params = jax.tree.map(lambda leaf: random(*leaf.shape, seed=leaf.size), shapes)

    def plain_attention(params, queries, tokens):
        heads = {
            name: {"kernel": params[name]["kernel"].reshape(12, 4, 3), "bias": params[name]["bias"].reshape(4, 3)}
            for name in ("query", "key", "value")
        }
        heads["out"] = {"kernel": params["out"]["kernel"].reshape(4, 3, 12), "bias": params["out"]["bias"]}
        return plain.apply({"params": heads}, queries, tokens)

    assert_same_function(lambda p, q, t: ours.apply({"params": p}, q, t), plain_attention, params, queries, tokens)


@pytest.mark.parametrize(
    ("position", "pooling"),
    [("learned", "token"), ("learned", "attention"), ("sincos2d", "token"), ("sincos2d", "mean")],
)
def test_positions_are_all_that_tells_the_patches_apart(position, pooling):
    config = {"name": "vit", "width": 16, "depth": 1, "mlp_dim": 16, "num_heads": 2, "patch_size": 2}
    network = networks.build(config | {"position": position, "pooling": pooling}, 4)
    images = random(2, 4, 4, 3)
    swapped = images.at[:, :2].set(images[:, 2:]).at[:, 2:].set(images[:, :2])
    shapes = jax.eval_shape(network.init, jax.random.key(0), images)["params"]
    params = jax.tree.map(lambda leaf: 0.3 * random(*leaf.shape, seed=leaf.size), shapes)

    apply = jax.jit(lambda params, images: network.apply({"params": params}, images))
    assert np.abs(apply(params, swapped) - apply(params, images)).max() > 1e-3
    if position == "learned":
        blind = params | {"position": jnp.zeros_like(params["position"])}
        np.testing.assert_allclose(apply(blind, swapped), apply(blind, images), atol=1e-5)


def test_the_class_token_gets_a_learned_position_and_no_fixed_one():
    config = {"name": "vit_ti16", "depth": 1}
    shapes = {
        position: jax.eval_shape(
            networks.build(config | {"position": position}, 4).init, jax.random.key(0), jnp.zeros((1, 32, 48, 3))
        )["params"]
        for position in ("learned", "sincos2d")
    }
    assert shapes["learned"]["position"].shape == (1, 2 * 3 + 1, 192)
    assert "position" not in shapes["sincos2d"]
    assert shapes["sincos2d"]["class_token"].shape == (1, 1, 192)


@pytest.mark.parametrize(
    ("patch_init", "expected"), [(None, math.sqrt(2 / (48 + 512))), ("lecun_normal", math.sqrt(1 / 48))]
)
def test_the_spread_of_the_patch_embedding(patch_init, expected):
    """Xavier's is √(2 / (fan-in + fan-out)), LeCun's √(1 / fan-in); a patch of 4 × 4 × 3 has a fan-in of 48."""
    sizes = {"name": "vit", "width": 512, "depth": 1, "mlp_dim": 16, "num_heads": 8, "patch_size": 4}
    network = networks.build({**sizes, "patch_init": patch_init}, 10)
    kernel = network.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]["patch"]["kernel"]
    assert kernel.shape == (4, 4, 3, 512)
    np.testing.assert_allclose(kernel.std(), expected, rtol=0.02)  # four standard errors
    assert abs(kernel.mean()) < 4 * expected / math.sqrt(kernel.size)
