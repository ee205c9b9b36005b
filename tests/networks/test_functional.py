"""Every formulation against the plain Flax form of the same arithmetic, values and gradients."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparison import FORWARD, GRADIENT, assert_close, assert_same_function, random, value_and_gradients

from networks import functional, layers
from networks.convnext import ConvNeXtV2


def plain_gelu(x):
    return nn.gelu(x, approximate=False)


def plain_layer_norm(x, scale, bias):
    norm = nn.LayerNorm(epsilon=1e-6, use_fast_variance=False)
    return norm.apply({"params": {"scale": scale, "bias": bias}}, x)


def plain_response_norm(x, gamma, beta):
    """Equations 1 to 3 of the ConvNeXt V2 paper, for automatic differentiation."""
    norm = jnp.sqrt(jnp.sum(x**2, axis=1, keepdims=True))
    response = norm / (jnp.mean(norm, axis=2, keepdims=True) + 1e-6)
    return gamma.reshape(1, 1, -1) * (x * response) + beta.reshape(1, 1, -1) + x


def plain_depthwise(x, kernel):
    conv = nn.Conv(x.shape[-1], kernel.shape[:2], feature_group_count=x.shape[-1], use_bias=False)
    return conv.apply({"params": {"kernel": kernel}}, x)


def test_gelu():
    assert_same_function(functional.gelu, plain_gelu, jnp.concatenate([3 * random(1000), jnp.linspace(-12, 12, 200)]))


def test_layer_norm():
    assert_same_function(
        functional.layer_norm, plain_layer_norm, random(60, 24), random(24, seed=1), random(24, seed=2)
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_layer_norm_without_a_derivative_is_the_same(dtype):
    """What is not finite stays so."""
    x = random(60, 24).at[3].set(jnp.nan).at[5, 0].set(jnp.inf).astype(dtype)
    arguments = (x, random(24, seed=1), random(24, seed=2))
    alone = jax.jit(functional.layer_norm)(*arguments)
    differentiated = jax.jit(lambda *arguments: jax.vjp(functional.layer_norm, *arguments)[0])(*arguments)
    assert alone.dtype == dtype
    np.testing.assert_array_equal(*(np.asarray(y, np.float32) for y in (alone, differentiated)))
    assert np.isnan(np.asarray(alone, np.float32)).any(axis=1).nonzero()[0].tolist() == [3, 5]


def test_layer_norm_keeps_its_accuracy_far_from_zero():
    x = np.asarray(random(8, 64, mean=1000.0), np.float64)
    expected = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
    actual = functional.layer_norm(jnp.asarray(x, jnp.float32), jnp.ones(64), jnp.zeros(64))
    # One rounding of the mean at 1000 is 6e-5 of the deviation; E[x²] − E[x]² would be off by percents.
    np.testing.assert_allclose(actual, expected, atol=2e-4)


def test_global_response_norm():
    x, gamma, beta = random(3, 20, 16), random(16, seed=1), random(16, seed=2)
    assert_same_function(functional.global_response_norm, plain_response_norm, x, gamma, beta)


@pytest.mark.parametrize("silent", [slice(0, 1), slice(None)])
def test_global_response_norm_of_a_silent_channel_has_the_slope_one(silent):
    x = random(2, 9, 4).at[:, :, silent].set(0.0)
    gradient = jax.grad(lambda x: functional.global_response_norm(x, random(4, seed=1), random(4, seed=2)).sum())(x)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[:, :, silent], 1.0)


@pytest.mark.parametrize("form", [functional.depthwise_conv_shifts, functional.depthwise_conv_lax])
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_depthwise(form, size):
    # 6 rows are fewer than a filter of 7: the padding matters everywhere.
    assert_same_function(form, plain_depthwise, random(2, 6, 9, 5), random(size, size, 1, 5, seed=1))


def test_depthwise_form_follows_the_backend(monkeypatch):
    x, kernel = random(1, 4, 4, 2), random(3, 3, 1, 2)
    for backend, grouped in (("cpu", False), ("gpu", True), ("tpu", True)):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        program = str(jax.make_jaxpr(lambda x, kernel: functional.depthwise_conv(x, kernel))(x, kernel))
        assert ("conv_general_dilated" in program) == grouped


@pytest.mark.parametrize("function", [functional.gelu, functional.layer_norm, functional.global_response_norm])
def test_bfloat16_is_rounded_only_at_the_end(function):
    x = random(2, 30, 16) if function is functional.global_response_norm else random(60, 16)
    parameters = () if function is functional.gelu else (random(16, seed=1), random(16, seed=2))
    rounded = x.astype(jnp.bfloat16)
    value, pull = jax.vjp(lambda x: function(x, *parameters), rounded)
    expected, pull_expected = jax.vjp(lambda x: function(x, *parameters), rounded.astype(jnp.float32))
    cotangent = random(*x.shape, seed=3).astype(jnp.bfloat16)
    gradient, expected_gradient = pull(cotangent)[0], pull_expected(cotangent.astype(jnp.float32))[0]
    assert value.dtype == gradient.dtype == jnp.bfloat16
    for actual, reference in ((value, expected), (gradient, expected_gradient)):
        np.testing.assert_allclose(actual.astype(jnp.float32), reference, rtol=2**-8, atol=1e-6)


def test_a_whole_network_has_the_gradient_of_its_plain_form(monkeypatch):
    network = ConvNeXtV2(num_classes=5, depths=(1, 1), widths=(8, 12), patch_size=2, kernel_size=3)
    images = random(4, 12, 12, 3)
    shapes = jax.eval_shape(network.init, jax.random.key(0), images)["params"]
    # Not as initialised: there the GRN is the identity and the biases are silent.
    params = jax.tree.map(lambda leaf: 0.3 * random(*leaf.shape, seed=leaf.size), shapes)

    def logits(params):
        return network.apply({"params": params}, images)

    value, gradients = value_and_gradients(logits, params)
    monkeypatch.setitem(layers.ACTIVATIONS, "gelu", plain_gelu)
    monkeypatch.setattr(functional, "layer_norm", plain_layer_norm)
    monkeypatch.setattr(functional, "global_response_norm", plain_response_norm)
    monkeypatch.setattr(functional, "depthwise_conv", plain_depthwise)
    expected, expected_gradients = value_and_gradients(logits, params)
    assert_close(value, expected, FORWARD)
    assert_close(gradients, expected_gradients, GRADIENT)
