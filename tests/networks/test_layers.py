"""The layers against the Flax modules whose parameters they share."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparison import assert_same_function, random

from errors import UserError
from networks import layers

PAIRS = {
    "dense": (layers.Dense(7), nn.Dense(7), (2, 3, 4, 5)),
    "norm": (layers.LayerNorm(), nn.LayerNorm(epsilon=1e-6, use_fast_variance=False), (2, 3, 5)),
    "depthwise": (layers.DepthwiseConv(3), nn.Conv(5, (3, 3), feature_group_count=5), (2, 6, 7, 5)),
    "patch 1": (layers.PatchProjection(6, 1), nn.Conv(6, (1, 1)), (2, 4, 5, 3)),
    "patch 4": (layers.PatchProjection(6, 4), nn.Conv(6, (4, 4), 4, "VALID"), (2, 8, 12, 3)),
    "no bias": (layers.PatchProjection(6, 2, False), nn.Conv(6, (2, 2), 2, "VALID", use_bias=False), (2, 4, 4, 3)),
    "odd sides": (layers.PatchProjection(6, 2), nn.Conv(6, (2, 2), 2, "VALID"), (2, 5, 7, 3)),
}  # fmt: skip


@pytest.mark.parametrize("pair", PAIRS)
def test_layer_equals_the_flax_module_with_the_same_parameters(pair):
    ours, plain, shape = PAIRS[pair]
    x = random(*shape)
    plain_shapes = jax.eval_shape(plain.init, jax.random.key(0), x)["params"]
    assert jax.eval_shape(ours.init, jax.random.key(0), x)["params"] == plain_shapes

    params = jax.tree.map(lambda leaf: random(*leaf.shape, seed=leaf.size), plain_shapes)
    assert_same_function(
        lambda params, x: ours.apply({"params": params}, x),
        lambda params, x: plain.apply({"params": params}, x),
        params,
        x,
    )


def test_patch_projection_is_initialised_as_the_matrix_it_is():
    layer = layers.PatchProjection(100, 4, kernel_init=nn.initializers.xavier_uniform())
    kernel = layer.init(jax.random.key(0), jnp.zeros((1, 4, 4, 3)))["params"]["kernel"]
    bound = np.sqrt(6 / (4 * 4 * 3 + 100))
    assert 0.99 * bound < np.abs(kernel).max() <= bound


def test_stochastic_depth_drops_whole_samples_at_its_rate_and_keeps_the_mean():
    x = 1 + np.arange(12, dtype=np.float32).reshape(1, 3, 4).repeat(4000, 0)
    y = np.asarray(layers.StochasticDepth(0.3).apply({}, x, train=True, rngs={"dropout": jax.random.key(0)}))
    dropped = (y == 0).all(axis=(1, 2))
    np.testing.assert_allclose(y[~dropped], x[~dropped] / 0.7, rtol=1e-6)
    assert abs(dropped.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 4000)


def test_stochastic_depth_is_the_identity_outside_training():
    x = random(5, 2)
    np.testing.assert_array_equal(layers.StochasticDepth(0.9).apply({}, x, train=False), x)


@pytest.mark.parametrize(("blocks", "expected"), [(1, [0.4]), (2, [0.0, 0.4]), (5, [0.0, 0.1, 0.2, 0.3, 0.4])])
def test_stochastic_depth_rates_rise_linearly(blocks, expected):
    np.testing.assert_allclose(layers.stochastic_depth_rates(0.4, blocks), expected, atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 30, 32, 3), (1, 32, 30, 3)])
def test_images_that_patches_do_not_tile_are_refused(shape):
    with pytest.raises(UserError, match=r"network\.patch_size is 4.*(30×32|32×30)"):
        layers.require_whole_patches(jnp.zeros(shape), 4)


@pytest.mark.parametrize(("head_init", "spread"), [("normal", 0.02 * 0.88), ("zeros", 0.0)])
def test_head_initialisation(head_init, spread):
    class Head(nn.Module):
        @nn.compact
        def __call__(self, embeddings):
            return layers.classify(self, embeddings, 100, head_init)

    params = Head().init(jax.random.key(0), jnp.ones((1, 200)))["params"]["head"]
    # A normal distribution cut off at two standard deviations keeps 0.88 of its deviation.
    np.testing.assert_allclose(params["kernel"].std(), spread, rtol=0.02)
    assert not params["bias"].any()
