"""What every network promises its caller: its size, its embeddings, its randomness, its dtypes, its refusals."""

from functools import partial

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

import networks
from errors import UserError
from networks import functional

# Published millions of parameters at 1000 classes and 224 pixels, and the fields that make a free name a published one.
PARAMETER_COUNTS = {
    "convnextv2_atto": ("3.7", {}),
    "convnextv2_femto": ("5.2", {}),
    "convnextv2_pico": ("9.1", {}),
    "convnextv2_nano": ("15.6", {}),
    "convnextv2_tiny": ("28.6", {}),
    "convnextv2_base": ("88.7", {}),
    "convnextv2_large": ("198", {}),
    "convnextv2_huge": ("660", {}),
    "convnextv2": ("3.7", {"depths": (2, 2, 6, 2), "widths": (40, 80, 160, 320)}),
    "vit_ti16": ("5.7", {}),
    "vit_s16": ("22.1", {}),
    "vit_b16": ("86.6", {}),
    "vit_l16": ("304", {}),
    # timm's vit_so400m_patch14_siglip_224 has 427.7 M without a head: 1.2 M less than with it.
    "vit_so400m14": ("428.8", {"pooling": "attention"}),
    "vit": ("22.1", {"width": 384, "depth": 12, "mlp_dim": 1536, "num_heads": 6, "patch_size": 16}),
}

SMALL = {
    "convnextv2": {"name": "convnextv2", "depths": (1, 1), "widths": (8, 16), "patch_size": 2, "kernel_size": 3},
    "vit": {"name": "vit", "width": 16, "depth": 2, "mlp_dim": 32, "num_heads": 2, "patch_size": 4},
}
IMAGES = np.random.default_rng(0).standard_normal((6, 8, 8, 3)).astype(np.float32)


def small(family, **fields):
    """A small network, and parameters away from initialisation, where biases are zero and the GRN is the identity."""
    network = networks.build(SMALL[family] | fields, 5)
    shapes = jax.eval_shape(network.init, jax.random.key(0), IMAGES)["params"]
    random = np.random.default_rng(1)
    return network, jax.tree.map(lambda leaf: 0.5 * random.standard_normal(leaf.shape).astype(np.float32), shapes)


@partial(jax.jit, static_argnames="network")  # equal networks are compiled once for all tests
def apply_and_sow(network, params, seed=None):
    """Logits of IMAGES and what was sown: in training with a seed, in evaluation and without any rng otherwise."""
    rngs = {} if seed is None else {"dropout": jax.random.key(seed)}
    return network.apply({"params": params}, IMAGES, train=seed is not None, rngs=rngs, mutable=["latent_embeddings"])


def apply(network, params, seed=None):
    return apply_and_sow(network, params, seed)[0]


@pytest.mark.parametrize("name", networks.NAMES)
def test_parameter_count_is_the_published_one(name, monkeypatch):
    monkeypatch.setattr(functional, "depthwise_conv", functional.depthwise_conv_lax)  # quicker to trace than 49 shifts
    published, fields = PARAMETER_COUNTS[name]
    network = networks.build({"name": name, **fields}, 1000)
    params = jax.eval_shape(network.init, jax.random.key(0), np.zeros((1, 224, 224, 3), np.float32))["params"]
    millions = sum(leaf.size for leaf in jax.tree.leaves(params)) / 1e6
    assert f"{millions:.{1 if '.' in published else 0}f}" == published


@pytest.mark.parametrize(("family", "fields"), [
    ("convnextv2", {}),
    ("convnextv2", {"compute_dtype": "bfloat16"}),
    ("convnextv2", {"stem_bias": False, "activation": "gelu_tanh"}),
    ("vit", {}),
    ("vit", {"compute_dtype": "bfloat16", "position": "sincos2d", "pooling": "mean"}),
    ("vit", {"compute_dtype": "bfloat16", "pooling": "attention"}),
])  # fmt: skip
def test_logits_are_the_float32_head_of_the_sown_embeddings(family, fields):
    network, params = small(family, **fields)
    logits, sown = apply_and_sow(network, params)
    (embeddings,) = jax.tree.leaves(sown["latent_embeddings"])
    assert logits.dtype == embeddings.dtype == jnp.float32
    assert logits.shape == (6, 5)
    expected = np.asarray(embeddings, np.float64) @ params["head"]["kernel"] + params["head"]["bias"]
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("family", SMALL)
def test_bfloat16_is_close_to_float32(family):
    network, params = small(family)
    expected = apply(network, params)
    logits = apply(small(family, compute_dtype="bfloat16")[0], params)
    difference = np.linalg.norm(logits - expected) / np.linalg.norm(expected)
    # Each of some ten roundings in a row is at most 2⁻⁹; less than one of them would mean float32 after all.
    assert 2**-12 < difference < 10 * 2**-9


@pytest.mark.parametrize(("family", "rates"), [
    ("convnextv2", {"stochastic_depth": 0.5}),
    ("vit", {"stochastic_depth": 0.5, "depth": 1}),
    ("vit", {"dropout": 0.5, "depth": 1}),
])  # fmt: skip
def test_dropout_acts_in_training_only(family, rates):
    dropping, params = small(family, **rates)
    network = dropping.clone(**{field: 0.0 for field in rates if field != "depth"})
    np.testing.assert_array_equal(apply(dropping, params), apply(network, params))  # without a rng
    first, again, other = (apply(dropping, params, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


@pytest.mark.parametrize("family", SMALL)
def test_parameters_are_float32_and_need_no_dropout_rng(family):
    rates = {"stochastic_depth": 0.5} | ({"dropout": 0.5} if family == "vit" else {})
    network, _ = small(family, compute_dtype="bfloat16", **rates)
    params = jax.eval_shape(network.init, jax.random.key(0), IMAGES)["params"]
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(("family", "last", "outputs"), [
    ("convnextv2", "stage1_block0", [("project",)]),
    ("vit", "block1", [("attention", "out"), ("mlp", "project")]),
])  # fmt: skip
def test_stochastic_depth_drops_the_last_block_at_its_rate_and_the_first_never(family, last, outputs):
    network, params = small(family, stochastic_depth=0.999999)
    trained = apply(network, params, seed=3)
    for path in outputs:
        branch = params[last]
        for module in path:
            branch = branch[module]
        branch["kernel"][:], branch["bias"][:] = 0.0, 0.0
    np.testing.assert_allclose(trained, apply(network, params), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", SMALL)
def test_no_promotion_is_left_to_chance(family):
    network, params = small(family, compute_dtype="bfloat16", stochastic_depth=0.5)

    def total(params):
        rngs = {"dropout": jax.random.key(0)}
        return network.apply({"params": params}, IMAGES, train=True, rngs=rngs).sum()

    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        gradient = jax.eval_shape(jax.grad(total), params)
    assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {jnp.dtype("float32")}


def test_fields_of_the_config_override_the_size_of_a_name():
    config = ml_collections.ConfigDict({"name": "vit_s16", "patch_size": 4, "depth": 3, "dropout": 0.1})
    config.position = ml_collections.config_dict.placeholder(str)  # None: the network's default
    config.depths = None  # a field of another network, not set
    network = networks.build(config, 10)
    assert (network.patch_size, network.depth, network.width, network.dropout) == (4, 3, 384, 0.1)
    assert network.position == "learned"
    sizes = networks.build(ml_collections.ConfigDict({"name": "convnextv2", "depths": [1], "widths": [8]}), 10)
    hash(sizes)  # as jit needs it of a static argument


REFUSED = {
    "an unknown name": ({"name": "convnextv2_picco"}, r"'convnextv2_picco'.*convnextv2_pico"),
    "a name like none": ({"name": "resnet50"}, r"'resnet50'.*vit_s16"),
    "no name": ({}, r"network\.name is None"),
    "a field of the other family": ({"name": "vit_s16", "kernel_size": 3}, r"network\.kernel_size.*vit_s16 has no"),
    "another one": ({"name": "convnextv2_atto", "position": "learned"}, r"network\.position.*_atto has no such"),
    "an unknown position": ({"name": "vit_s16", "position": "rope"}, r"network\.position is 'rope'.*learned, sincos2d"),
    "an unknown pooling": ({"name": "vit_s16", "pooling": "max"}, r"network\.pooling is 'max'.*token, mean, attention"),
    "an unknown activation": ({"name": "vit_s16", "activation": "relu"}, r"network\.activation is 'relu'.*gelu_tanh"),
    "an unknown dtype": ({"name": "vit_s16", "compute_dtype": "float16"}, r"'float16'.*float32, bfloat16"),
    "an unknown head": ({"name": "vit_s16", "head_init": "ones"}, r"network\.head_init is 'ones'.*normal, zeros"),
    "heads that do not divide": ({"name": "vit_s16", "num_heads": 5}, r"network\.num_heads is 5.*384"),
    "a width without quarters": ({"name": "vit_ti16", "width": 198, "position": "sincos2d"}, r"is 198.*multiple of 4"),
    "a missing size": ({"name": "vit", "width": 8, "depth": 1}, r"mlp_dim and network\.num_heads and network"),
    "no stages": ({"name": "convnextv2"}, r"needs network\.depths and network\.widths"),
    "stages that differ": ({"name": "convnextv2_atto", "depths": (1, 1)}, r"2 stages and network\.widths 4"),
    "an empty stage": ({"name": "convnextv2_atto", "depths": (1, 0, 1, 1)}, r"network\.depths is \(1, 0, 1, 1\)"),
    "no patch": ({"name": "vit_s16", "patch_size": 0}, r"network\.patch_size is 0.*\[1, 1000000\]"),
    "a certain drop": ({"name": "vit_s16", "dropout": 1.0}, r"network\.dropout is 1\.0.*\[0, 1\)"),
    "no switch": ({"name": "convnextv2_atto", "stem_bias": 1}, r"network\.stem_bias is 1.*True or False"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_built_is_refused_in_one_line(case):
    config, message = REFUSED[case]
    with pytest.raises(UserError, match=message) as error:
        networks.build(config, 10)
    assert "\n" not in str(error.value)


def init_shapes(config, height, width):
    images = np.zeros((1, height, width, 3), np.float32)
    return jax.eval_shape(networks.build(config, 10).init, jax.random.key(0), images)


@pytest.mark.parametrize("family", SMALL)
def test_images_that_patches_do_not_tile_are_refused(family):
    with pytest.raises(UserError, match=r"network\.patch_size is \d, but the images are 8×9"):
        init_shapes(SMALL[family], 8, 9)


@pytest.mark.parametrize(("stages", "side"), [(1, 2), (2, 4), (3, 8), (5, 32)])
def test_images_may_be_as_small_as_one_pixel_in_the_last_stage(stages, side):
    config = {"name": "convnextv2", "depths": (1,) * stages, "widths": (4,) * stages, "patch_size": 2}
    init_shapes(config, side, side)
    with pytest.raises(UserError, match=f"at least {side}|multiples"):
        init_shapes(config, side, side - 2)
