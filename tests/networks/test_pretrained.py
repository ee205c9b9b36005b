"""The same weights give the same logits as Hugging Face's and Google's form of a network, and misfits are named."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from google_vit import GoogleViT, google_file
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

import networks
from configs import base
from datasets.feeds.augment import normalize
from errors import UserError
from networks import pretrained
from networks.pretrained.adaptation import resize_positions
from training import optimizer
from training.state import create_state, load_pretrained_params

CONVNEXT = {"image_size": 224, "num_labels": 1000, "layer_norm_eps": 1e-6}
VIT = {"image_size": 224, "patch_size": 16, "num_labels": 1000, "layer_norm_eps": 1e-6}
MODELS = {
    "convnextv2_pico": CONVNEXT | {"depths": [2, 2, 6, 2], "hidden_sizes": [64, 128, 256, 512]},
    "convnextv2_femto": CONVNEXT | {"depths": [2, 2, 6, 2], "hidden_sizes": [48, 96, 192, 384]},
    "vit_s16": VIT | {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "intermediate_size": 1536},
    "vit_b16": VIT
    | {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
}


def network_and_shapes(name, num_classes=1000, size=224, **fields):
    network = networks.build({"name": name, **fields}, num_classes)
    return network, jax.eval_shape(network.init, jax.random.key(0), np.zeros((1, size, size, 3), np.float32))["params"]


def started_by_config(num_classes, size, **fields):
    """The network and the parameters that a run with this config would begin with, and those it would without it."""
    config = base.get_config()
    config.update(fields)
    network = networks.build(config.network, num_classes)
    chain = optimizer.build_optimizer(config.optimizer, 10)
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    state = create_state(network, chain, (size, size, 3), 0, device)
    return network, load_pretrained_params(state, config, network).params, state.params


def huggingface_model(name, torch, transformers):
    """The model with every parameter random: zeros and ones (GRN, norms, biases, class token) would hide mistakes."""
    torch.manual_seed(0)
    if name.startswith("vit"):
        model = transformers.ViTForImageClassification(transformers.ViTConfig(**MODELS[name]))
    else:
        model = transformers.ConvNextV2ForImageClassification(transformers.ConvNextV2Config(**MODELS[name]))
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            centre = 1.0 if "norm" in parameter_name and parameter_name.endswith("weight") else 0.0
            spread = parameter[0].numel() ** -0.5 if parameter.ndim in (2, 4) and "grn" not in parameter_name else 0.3
            parameter.normal_(centre, spread)
    return model.eval()


@pytest.mark.torch
@pytest.mark.parametrize("name", MODELS)
def test_logits_equal_those_of_transformers(name, tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model = huggingface_model(name, torch, transformers)
    model.save_pretrained(tmp_path)  # as safetensors
    images = np.random.default_rng(0).standard_normal((2, 224, 224, 3)).astype(np.float32)
    with torch.no_grad():
        expected = model(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).logits.numpy()

    weights = {"pretrained": str(tmp_path), "pretrained_head": True}
    network, params, _ = started_by_config(1000, 224, network={"name": name}, **weights)
    logits = np.asarray(jax.jit(network.apply)({"params": params}, images))

    print(f"{name}: max abs difference {np.abs(logits - expected).max():.2e}, logits to {np.abs(expected).max():.1f}")
    assert expected.std() > 0.1  # the logits say something about the image
    assert np.abs(expected[0] - expected[1]).max() > 0.01
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)


@pytest.mark.torch
def test_an_image_gives_the_logits_of_the_pipeline_of_transformers(tmp_path):
    """Whose pixels are normalised by ImageNet's mean and deviation."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model = huggingface_model("convnextv2_pico", torch, transformers)
    processor = transformers.ConvNextImageProcessorPil(size={"shortest_edge": 224}, crop_pct=1.0)
    assert processor.image_mean != [0.5, 0.5, 0.5]
    images = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
    with torch.no_grad():
        expected = model(**processor(list(images), return_tensors="pt")).logits.numpy()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)

    weights = {"pretrained": str(tmp_path / "model.safetensors"), "pretrained_head": True}
    network, params, _ = started_by_config(1000, 224, network={"name": "convnextv2_pico"}, **weights)
    logits = np.asarray(jax.jit(network.apply)({"params": params}, normalize(jnp.asarray(images))))
    print(f"max abs difference {np.abs(logits - expected).max():.2e}, logits to {np.abs(expected).max():.1f}")
    assert np.abs(expected[0] - expected[1]).max() > 0.01
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)


SMALL = {"width": 24, "depth": 2, "mlp_dim": 40, "num_heads": 3}
POSITION = "Transformer/posembed_input/pos_embedding"


def small_google_file():
    return google_file(**SMALL, patch=8, grid=4, num_classes=7)


def small_network(num_classes=7, size=32, **fields):
    return network_and_shapes("vit", num_classes, size, patch_size=8, activation="gelu_tanh", **(SMALL | fields))


def written(tmp_path, tensors):
    path = tmp_path / "weights.npz"
    np.savez(path, **tensors)
    return path


def some_images():
    return np.random.default_rng(1).standard_normal((3, 32, 32, 3)).astype(np.float32)


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


def test_every_weight_that_does_not_fit_is_named_in_one_line(tmp_path):
    tensors = small_google_file()
    gone = ["cls", "Transformer/encoderblock_0/MlpBlock_3/Dense_1/bias", "Transformer/encoder_norm/scale"]
    for name in gone:
        del tensors[name]
    extra = ["Transformer/encoderblock_7/LayerNorm_0/bias", "conv_root/kernel"]
    tensors |= dict.fromkeys(extra, np.zeros(3, np.float32))
    bent = {"embedding/kernel": (4, 4, 3, 24), "Transformer/encoderblock_1/MlpBlock_3/Dense_0/bias": (41,)}
    tensors |= {name: np.zeros(shape, np.float32) for name, shape in bent.items()}
    with pytest.raises(UserError) as error:
        pretrained.load_pretrained(written(tmp_path, tensors), small_network(5)[1], 3, new_head=True)
    assert "\n" not in str(error.value)
    missing, left_over, misshapen = str(error.value).split("; ")[1:]
    assert sorted(re.findall(r"\(([\w/]+)\)", missing)) == sorted(gone)
    assert left_over == "left over: " + ", ".join(extra)
    assert misshapen.count(" should be ") == len(bent)
    for name, shape in bent.items():
        assert f"{name} is {shape} and should be" in misshapen


def test_another_number_of_heads_is_no_fit(tmp_path):
    """A reshape would hide it: 3 heads of 8 are as many numbers as 2 of 12."""
    template = small_network(num_heads=2)[1]
    with pytest.raises(UserError, match=r"query/kernel is \(24, 3, 8\) and should be \(24, 2, 12\)"):
        pretrained.load_pretrained(written(tmp_path, small_google_file()), template, 2)


def test_pre_logits_are_left_out_only_with_a_new_head(tmp_path):
    path = written(tmp_path, small_google_file() | {"pre_logits/bias": np.zeros(24, np.float32)})
    with pytest.raises(UserError, match=r"left over: pre_logits/bias$"):
        pretrained.load_pretrained(path, small_network()[1], 3)
    pretrained.load_pretrained(path, small_network()[1], 3, new_head=True)


def test_the_head_is_new_unless_the_config_keeps_it(tmp_path):
    path = str(written(tmp_path, small_google_file()))
    network = {"name": "vit", "patch_size": 8, "activation": "gelu_tanh"} | SMALL
    _, params, before = started_by_config(7, 32, network=network, pretrained=path)
    np.testing.assert_array_equal(params["head"]["kernel"], before["head"]["kernel"])
    _, params, _ = started_by_config(7, 32, network=network, pretrained=path, pretrained_head=True)
    np.testing.assert_array_equal(params["head"]["kernel"], small_google_file()["head/kernel"])
    with pytest.raises(UserError, match=r"head/bias is \(7,\) and should be \(8,\)"):
        started_by_config(8, 32, network=network, pretrained=path, pretrained_head=True)


def one_block_file():
    """What save_pretrained of transformers 5.23 writes for a ViT of one block, width 8, patch 112 and 3 classes."""
    shapes = {
        "classifier": (3, 8),
        "vit.embeddings.patch_embeddings.projection": (8, 3, 112, 112),
        "vit.encoder.layer.0.attention.attention.key": (8, 8),
        "vit.encoder.layer.0.attention.attention.query": (8, 8),
        "vit.encoder.layer.0.attention.attention.value": (8, 8),
        "vit.encoder.layer.0.attention.output.dense": (8, 8),
        "vit.encoder.layer.0.intermediate.dense": (16, 8),
        "vit.encoder.layer.0.layernorm_after": (8,),
        "vit.encoder.layer.0.layernorm_before": (8,),
        "vit.encoder.layer.0.output.dense": (8, 16),
        "vit.layernorm": (8,),
    }
    random = np.random.default_rng(0)
    tensors = {f"{name}.weight": random.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    tensors |= {f"{name}.bias": random.standard_normal(shape[:1], np.float32) for name, shape in shapes.items()}
    tensors["vit.embeddings.cls_token"] = random.standard_normal((1, 1, 8), np.float32)
    tensors["vit.embeddings.position_embeddings"] = random.standard_normal((1, 5, 8), np.float32)
    return tensors


ONE_BLOCK = {"width": 8, "depth": 1, "mlp_dim": 16, "num_heads": 2, "patch_size": 112}


def test_every_tensor_finds_its_place(tmp_path):
    tensors = one_block_file()
    path = tmp_path / "model.safetensors"
    save_file(tensors, path)
    params = pretrained.load_pretrained(path, network_and_shapes("vit", 3, **ONE_BLOCK)[1])
    kernel = params["patch"]["kernel"]
    assert kernel[5, 7, 2, 6] == tensors["vit.embeddings.patch_embeddings.projection.weight"][6, 2, 5, 7]
    expand = params["block0"]["mlp"]["expand"]["kernel"]
    np.testing.assert_array_equal(expand, tensors["vit.encoder.layer.0.intermediate.dense.weight"].T)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == sum(tensor.size for tensor in tensors.values())


def test_a_model_without_a_head_leaves_out_the_prefix(tmp_path):
    """As `ViTModel.save_pretrained` writes it, with a pooler that ours does without."""
    tensors = {name.removeprefix("vit."): value for name, value in one_block_file().items() if "classifier" not in name}
    path = tmp_path / "model.safetensors"
    save_file(tensors | {"pooler.dense.bias": np.zeros(8, np.float32)}, path)
    template = network_and_shapes("vit", 5, **ONE_BLOCK)[1]
    params = pretrained.load_pretrained(path, template, new_head=True)
    np.testing.assert_array_equal(params["norm"]["bias"], tensors["layernorm.bias"])
    assert params["head"]["bias"].shape == (5,)


IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (IMAGENET, lambda x: (x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]),
        ({"image_mean": 0.5, "image_std": 0.5, "rescale_factor": 1 / 255}, lambda x: x / 127.5 - 1),
        (IMAGENET | {"do_normalize": False}, lambda x: x / 255),
        (IMAGENET | {"do_rescale": False}, lambda x: (x - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]),
    ],
)
def test_the_first_convolution_takes_over_the_scale_of_the_pixels(config, expected, tmp_path):
    save_file(one_block_file(), tmp_path / "model.safetensors")
    network, template = network_and_shapes("vit", 3, **ONE_BLOCK)
    images = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
    params = pretrained.load_pretrained(tmp_path / "model.safetensors", template)
    logits = network.apply({"params": params}, expected(images).astype(np.float32))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    params = pretrained.load_pretrained(tmp_path / "model.safetensors", template)
    ours = network.apply({"params": params}, normalize(jnp.asarray(images)))
    assert np.abs(logits[0] - logits[1]).max() > 0.1
    np.testing.assert_allclose(ours, logits, rtol=0, atol=2e-4)


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"image_mean": "a", "image_std": 1}', '{"image_mean": 0, "image_std": 0}']
)
def test_a_scale_that_cannot_be_understood_is_refused_in_one_line(text, tmp_path):
    save_file(one_block_file(), tmp_path / "model.safetensors")
    (tmp_path / "preprocessor_config.json").write_text(text)
    with pytest.raises(UserError, match=r"cannot read .*preprocessor_config\.json: ") as error:
        pretrained.load_pretrained(tmp_path / "model.safetensors", network_and_shapes("vit", 3, **ONE_BLOCK)[1])
    assert "\n" not in str(error.value)


def without(name):
    return lambda tensors: tensors.pop(name)


def with_pooler(tensors):
    tensors["vit.pooler.dense.bias"] = np.zeros(8, np.float32)


def unchanged(tensors):
    pass


MISFITS = {
    "a tensor is missing": (without("vit.layernorm.bias"), {}, r"missing: norm/bias \(vit.layernorm.bias\)$"),
    "a tensor is left": (with_pooler, {}, "left over: vit.pooler.dense.bias$"),
    "other classes": (unchanged, {"num_classes": 4}, r"classifier\.bias is \(3,\) and should be \(4,\)"),
    "more blocks": (unchanged, {"depth": 2}, r"missing: block1/.*vit\.encoder\.layer\.1"),
    "no class token": (unchanged, {"pooling": "mean", "position": "sincos2d"}, "left over: vit.embeddings.cls_token"),
    "a probe": (unchanged, {"pooling": "attention"}, "pool/probe .such files do not have it"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISFITS)
def test_a_file_that_does_not_fit_is_refused_in_one_line(case, tmp_path):
    change, fields, message = MISFITS[case]
    tensors = one_block_file()
    change(tensors)
    save_file(tensors, tmp_path / "model.safetensors")
    template = network_and_shapes("vit", **({"num_classes": 3} | ONE_BLOCK | fields))[1]
    with pytest.raises(UserError, match=message) as error:
        pretrained.load_pretrained(tmp_path / "model.safetensors", template)
    assert "\n" not in str(error.value)


def test_a_file_of_another_family_is_refused(tmp_path):
    save_file(one_block_file(), tmp_path / "model.safetensors")
    template = network_and_shapes("convnextv2_atto", 3)[1]
    with pytest.raises(UserError, match=r"none of the network's weights.*classifier\.weight"):
        pretrained.load_pretrained(tmp_path / "model.safetensors", template, new_head=True)
    with pytest.raises(UserError, match="Google's ViT, and the network is a ConvNeXt"):
        pretrained.load_pretrained(written(tmp_path, small_google_file()), template)
    with pytest.raises(UserError, match=r"model\.safetensors is no run; .* for ViT and ConvNeXt V2 only"):
        pretrained.load_pretrained(tmp_path / "model.safetensors", {"hidden": {}, "head": {}})


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_an_unreadable_file_is_refused_in_one_line(suffix, tmp_path):
    broken = tmp_path / f"broken{suffix}"
    broken.write_bytes(b"no header")
    with pytest.raises(UserError, match=f"cannot read {broken}") as error:
        pretrained.load_pretrained(broken, {"patch": {}})
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="there is no file"):
        pretrained.load_pretrained(tmp_path / f"absent{suffix}", {"patch": {}})


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["pytorch_model.bin"], r"pytorch_model\.bin is pickled, .* then save_pretrained"),
        (["model.safetensors.index.json"], r"index\.json lists several files, .* then save_pretrained"),
        ([], "has no model.safetensors and is no run"),
        (["environment.json"], "is not finished; name one of its checkpoints"),
    ],
)
def test_a_folder_without_one_file_of_weights_is_refused_in_one_line(names, message, tmp_path):
    for name in ["config.json", *names]:
        (tmp_path / name).write_text("{}")
    with pytest.raises(UserError, match=message) as error:
        started_by_config(3, 224, network={"name": "vit"} | ONE_BLOCK, pretrained=str(tmp_path))
    assert "\n" not in str(error.value)


def test_nothing_is_unpickled(tmp_path):
    with pytest.raises(UserError, match="cannot read"):
        pretrained.load_pretrained(written(tmp_path, {"cls": np.array([{"a": 1}], object)}), {"patch": {}})
    for name in ("weights.bin", "weights.pt"):
        with pytest.raises(UserError, match=r"is pickled, which could execute code, and is not read; convert it"):
            pretrained.load_pretrained(tmp_path / name, {"patch": {}})
    with pytest.raises(UserError, match=r"weights\.h5 is neither an"):
        pretrained.load_pretrained(tmp_path / "weights.h5", {"patch": {}})
