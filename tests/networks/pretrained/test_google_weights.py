"""Google's weights of the ViT, and big_vision's: the same logits, and positions of another size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from google_vit import GoogleViT, google_file
from hypothesis import given, settings
from hypothesis import strategies as st
from pretrained_files import POSITION, SMALL, small_google_file, small_network, some_images, started_by_config, written

from errors import UserError
from networks import pretrained
from networks.pretrained.adaptation import resize_positions


def test_google_weights_give_google_logits(tmp_path):
    tensors = small_google_file()
    reference = GoogleViT(**SMALL, patch_size=8, num_classes=7)
    tree = traverse_util.unflatten_dict({tuple(name.split("/")): value for name, value in tensors.items()})
    expected = jax.jit(reference.apply)({"params": tree}, some_images())

    network, template = small_network()
    params = pretrained.load_pretrained(written(tmp_path, tensors), template, num_heads=3)
    logits = jax.jit(network.apply)({"params": params}, some_images())
    assert np.std(expected) > 0.1
    np.testing.assert_allclose(logits, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize(("size", "pre_logits"), [(224, True), (384, False)])
def test_a_whole_google_b16_is_loaded(size, pre_logits, tmp_path):
    """All twelve blocks, an eighth as wide; the file is of 224 px and other classes than the network."""
    tensors = google_file(96, 12, 12, 384, 16, 14, num_classes=50)
    if pre_logits:
        tensors |= {"pre_logits/kernel": np.zeros((96, 96), np.float32), "pre_logits/bias": np.zeros(96, np.float32)}
    network = {"name": "vit_b16", "width": 96, "mlp_dim": 384, "head_init": "zeros", "activation": "gelu_tanh"}
    _, params, before = started_by_config(11, size, network=network, pretrained=str(written(tmp_path, tensors)))
    assert params["position"].shape == (1, (size // 16) ** 2 + 1, 96)
    np.testing.assert_array_equal(params["position"][:, 0], tensors[POSITION][:, 0])
    ours, initial = traverse_util.flatten_dict(params, sep="/"), traverse_util.flatten_dict(before, sep="/")
    unchanged = {name for name, value in ours.items() if np.array_equal(value, initial[name])}
    assert unchanged == {"head/kernel", "head/bias"}
    found = {np.asarray(value).tobytes() for value in ours.values()}
    not_found = {name for name, value in tensors.items() if value.tobytes() not in found}
    head = {name for name in tensors if name.startswith(("head", "pre_logits"))}
    assert not_found == head | ({POSITION} if size != 224 else set())


def as_big_vision(tensors, prefix):
    """The same weights with the names that big_vision writes: the class token without a position of its own."""
    renamed = {}
    for name, value in tensors.items():
        if "encoderblock" in name:
            for old, new in (
                ("LayerNorm_2", "LayerNorm_1"),
                ("Attention_1", "Attention_0"),
                ("MlpBlock_3", "MlpBlock_0"),
            ):
                name = name.replace(old, new)
        renamed[prefix + name] = value
    positions = renamed.pop(prefix + POSITION)
    return renamed | {f"{prefix}pos_embedding": positions[:, 1:], f"{prefix}cls": tensors["cls"] + positions[:, :1]}


@pytest.mark.parametrize("prefix", ["", "params/"])
def test_big_vision_names_give_the_same_function(prefix, tmp_path):
    tensors = small_google_file()
    network, template = small_network()
    apply = jax.jit(network.apply)
    original = pretrained.load_pretrained(written(tmp_path, tensors), template, 3)
    expected = apply({"params": original}, some_images())
    renamed = pretrained.load_pretrained(written(tmp_path, as_big_vision(tensors, prefix)), template, 3)
    np.testing.assert_allclose(apply({"params": renamed}, some_images()), expected, rtol=0, atol=1e-5)


def test_attention_pooling_of_big_vision_finds_its_place(tmp_path):
    tensors = as_big_vision(small_google_file(), "")
    del tensors["cls"]
    block = "Transformer/encoderblock_1/"
    pool = {name.replace(block, "MAPHead_0/"): value + 1 for name, value in tensors.items() if block in name}
    pool = {name: value for name, value in pool.items() if "LayerNorm_1" not in name}
    pool["MAPHead_0/probe"] = np.ones((1, 1, 24), np.float32)
    template = small_network(pooling="attention")[1]
    params = pretrained.load_pretrained(written(tmp_path, tensors | pool), template, 3)
    np.testing.assert_array_equal(params["pool"]["probe"], pool["MAPHead_0/probe"])
    key = pool["MAPHead_0/MultiHeadDotProductAttention_0/key/kernel"]
    np.testing.assert_array_equal(params["pool"]["attention"]["key"]["kernel"], key.reshape(24, 24))


def test_bfloat16_in_an_npz_file(tmp_path):
    tensors = small_google_file()
    halved = {name: np.asarray(jnp.asarray(value, jnp.bfloat16)) for name, value in tensors.items()}
    params = pretrained.load_pretrained(written(tmp_path, halved), small_network()[1], 3)
    assert params["norm"]["bias"].dtype == np.float32
    np.testing.assert_allclose(params["norm"]["bias"], tensors["Transformer/encoder_norm/bias"], rtol=2**-8)


@settings(max_examples=25, deadline=None)
@given(before=st.integers(2, 9), after=st.integers(2, 9), class_token=st.booleans(), seed=st.integers(0, 5))
def test_positions_are_resized_bilinearly(before, after, class_token, seed):
    """Bilinear interpolation, corner on corner, gets a + bx + cy + dxy exactly right."""
    rng = np.random.default_rng(seed)
    (a, b, c, d), token = rng.normal(size=(4, 1, 1, 3)), rng.normal(size=(1, int(class_token), 3))

    def surface(side):
        y, x = (axis[..., None] for axis in np.meshgrid(*[np.linspace(0, 1, side)] * 2, indexing="ij"))
        values = a + b * x + c * y + d * x * y
        return np.concatenate([token, values.reshape(1, side * side, 3)], axis=1)

    result = resize_positions(surface(before), after * after + class_token, class_token)
    np.testing.assert_allclose(result, surface(after), atol=1e-12)


def test_positions_between_patches_worked_by_hand():
    grid = np.array([[0.0, 6.0], [2.0, 4.0]]).reshape(1, 4, 1)
    expected = [[0, 3, 6], [1, 3, 5], [2, 3, 4]]
    np.testing.assert_allclose(resize_positions(grid, 9, class_token=False).reshape(3, 3), expected)


def test_positions_of_the_same_size_are_untouched():
    positions = np.random.default_rng(0).normal(size=(1, 12, 4))  # not even a square
    assert resize_positions(positions, 12, class_token=False) is positions


@pytest.mark.parametrize(("tokens", "image"), [(13, (32, 32)), (17, (32, 64))])
def test_grids_that_are_not_square_are_refused(tokens, image, tmp_path):
    tensors = small_google_file() | {POSITION: np.zeros((1, tokens, 24), np.float32)}
    shape = (1, *image, 3)
    template = jax.eval_shape(small_network()[0].init, jax.random.key(0), np.zeros(shape, np.float32))["params"]
    with pytest.raises(UserError, match=f"of another shape: {POSITION} is .* only square grids are resized$"):
        pretrained.load_pretrained(written(tmp_path, tensors), template, 3)
