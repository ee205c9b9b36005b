"""How the tests of the networks hold one formulation to another: largest difference over largest entry, in float32."""

import jax
import jax.numpy as jnp
import numpy as np

FORWARD, GRADIENT = 1e-6, 3e-6


def random(*shape, seed=0, mean=0.0):
    return jnp.asarray(np.random.default_rng(seed).normal(mean, 1.0, shape), jnp.float32)


def value_and_gradients(function, *arguments):
    """The value of a function, and the gradients of one random projection of it in all arguments."""
    cotangent = random(*jax.eval_shape(function, *arguments).shape, seed=99)

    @jax.jit
    def run(*arguments):
        value, pull = jax.vjp(function, *arguments)
        return value, pull(cotangent)

    return run(*arguments)


def assert_close(actual, expected, tolerance):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for leaf, reference in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert leaf.shape == reference.shape
        assert np.abs(leaf - reference).max() <= tolerance * np.abs(reference).max()


def assert_same_function(ours, plain, *arguments):
    value, gradients = value_and_gradients(ours, *arguments)
    expected, expected_gradients = value_and_gradients(plain, *arguments)
    assert_close(value, expected, FORWARD)
    assert_close(gradients, expected_gradients, GRADIENT)
