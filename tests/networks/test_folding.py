"""The forms for accelerators, run on the CPU, against those for CPUs: logits, and gradients of samples and batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparison import random

import networks
from networks import folding
from planning.compilation import trace_for

NETWORKS = {
    # 8 × 8 positions and 6 features: kernels by sample; then 4 × 4 and 24: multiplied out; then one position.
    "convnext": {"name": "convnextv2", "depths": (1, 1, 1), "widths": (6, 24, 8), "patch_size": 1, "kernel_size": 3},
    "convnext of patches": {
        "name": "convnextv2",
        "depths": (2,),
        "widths": (8,),
        "patch_size": 2,
        "activation": "gelu_tanh",
    },
    "no bias": {"name": "convnextv2", "depths": (1, 1), "widths": (4, 8), "patch_size": 1, "stem_bias": False},
    "vit": {"name": "vit", "width": 16, "depth": 2, "mlp_dim": 24, "num_heads": 2, "patch_size": 2},
}
NETWORKS["mean"] = NETWORKS["vit"] | {"pooling": "mean", "position": "sincos2d"}
NETWORKS["attention"] = NETWORKS["vit"] | {"pooling": "attention"}


def build(fields):
    """The network with parameters that are all different from those of an identity."""
    model = networks.build(fields, 5)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))["params"]
    leaves, structure = jax.tree.flatten(shapes)
    values = [0.5 * random(*leaf.shape, seed=i) for i, leaf in enumerate(leaves)]
    return model, jax.tree.unflatten(structure, values)


def run(model, params, images, kind):
    """Logits, and the gradients of all samples, as traced for a kind of device."""

    def loss(params, image):
        logits = model.apply({"params": params}, image[None])[0]
        return jnp.sum(logits * jnp.arange(1.0, 6.0)), logits

    with trace_for(kind):
        return jax.jit(jax.vmap(jax.grad(loss, has_aux=True), (None, 0)))(params, images)


@pytest.mark.parametrize("fields", NETWORKS.values(), ids=NETWORKS)
def test_logits_and_gradients_are_those_of_the_forms_for_cpus(fields):
    model, params = build(fields)
    images = random(3, 8, 8, 3, seed=99)
    (expected, logits), (gradients, folded) = (run(model, params, images, kind) for kind in ("cpu", "gpu"))
    np.testing.assert_allclose(folded, logits, rtol=1e-5, atol=1e-5 * np.abs(logits).max())
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected))
    for path, leaf in jax.tree_util.tree_leaves_with_path(expected):
        actual = gradients
        for key in path:
            actual = actual[key.key]
        np.testing.assert_allclose(actual, leaf, rtol=1e-4, atol=1e-5 * largest, err_msg=jax.tree_util.keystr(path))


@pytest.mark.parametrize("fields", [NETWORKS["convnext"], NETWORKS["mean"]], ids=["convnext", "vit"])
def test_a_batch_has_the_gradient_of_its_samples(fields):
    model, params = build(fields)
    images = random(3, 8, 8, 3, seed=99)
    by_sample, _ = run(model, params, images, "gpu")

    def loss(params):
        return jnp.sum(model.apply({"params": params}, images) * jnp.arange(1.0, 6.0)[None])

    with trace_for("gpu"):
        gradients = jax.jit(jax.grad(loss))(params)
    for leaf, parts in zip(jax.tree.leaves(gradients), jax.tree.leaves(by_sample), strict=True):
        np.testing.assert_allclose(leaf, parts.sum(axis=0), rtol=1e-4, atol=1e-4 * np.abs(parts).max() + 1e-6)


def test_bfloat16_stays_bfloat16():
    fields = NETWORKS["convnext"] | {"compute_dtype": "bfloat16"}
    model, params = build(fields)
    images = random(3, 8, 8, 3, seed=99)
    (_, logits), (_, folded) = (run(model, params, images, kind) for kind in ("cpu", "gpu"))
    assert np.abs(folded - logits).max() < 0.03 * np.abs(logits).max()
    with trace_for("gpu"):
        text = jax.jit(lambda images: model.apply({"params": params}, images)).lower(images).as_text()
    products = [line for line in text.splitlines() if "dot_general" in line and "bf16" in line]
    assert len(products) >= 6


def test_a_channel_that_is_zero_everywhere_has_a_norm_without_slope():
    x = random(2, 9, 4).at[:, :, 0].set(0.0)
    zeros = jnp.zeros(4)
    gradient = jax.grad(lambda x: folding.respond(jax.nn.relu, x, zeros, random(4, seed=1)).sum())(x)
    assert np.isfinite(gradient).all()
    _, pull = jax.vjp(lambda x: folding.activate(lambda x: x, x, zeros)[1], x)
    (slope,) = pull(jnp.ones((2, 4)))
    assert (slope[:, :, 0] == 0).all()
    np.testing.assert_allclose(slope[:, :, 1:], (x / jnp.linalg.norm(x, axis=1, keepdims=True))[:, :, 1:], rtol=1e-5)


def test_what_cpus_run_is_not_folded():
    model, params = build(NETWORKS["convnext"])
    text = jax.jit(lambda images: model.apply({"params": params}, images)).lower(jnp.zeros((1, 8, 8, 3))).as_text()
    assert "optimization_barrier" not in text
