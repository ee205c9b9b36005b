"""Weights of transformers: the same logits, every tensor in its place, and the scale of its pixels."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pretrained_files import ONE_BLOCK, network_and_shapes, one_block_file, started_by_config
from safetensors.numpy import save_file

from datasets.feeds.augment import normalize
from errors import UserError
from networks import pretrained

CONVNEXT = {"image_size": 224, "num_labels": 1000, "layer_norm_eps": 1e-6}
VIT = {"image_size": 224, "patch_size": 16, "num_labels": 1000, "layer_norm_eps": 1e-6}
MODELS = {
    "convnextv2_pico": CONVNEXT | {"depths": [2, 2, 6, 2], "hidden_sizes": [64, 128, 256, 512]},
    "convnextv2_femto": CONVNEXT | {"depths": [2, 2, 6, 2], "hidden_sizes": [48, 96, 192, 384]},
    "vit_s16": VIT | {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "intermediate_size": 1536},
    "vit_b16": VIT
    | {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
}


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
