"""Hugging Face is the judge: the same weights must give the same logits there and here."""

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

import networks
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


def network_and_shapes(name, num_classes=1000, **fields):
    network = networks.build({"name": name, **fields}, num_classes)
    return network, jax.eval_shape(network.init, jax.random.key(0), np.zeros((1, 224, 224, 3), np.float32))["params"]


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
    model.save_pretrained(tmp_path)
    images = np.random.default_rng(0).standard_normal((2, 224, 224, 3)).astype(np.float32)
    with torch.no_grad():
        expected = model(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).logits.numpy()

    network, template = network_and_shapes(name)
    params = pretrained.load_huggingface(tmp_path / "model.safetensors", template)
    logits = np.asarray(jax.jit(network.apply)({"params": params}, images))

    print(f"{name}: max abs difference {np.abs(logits - expected).max():.2e}, logits to {np.abs(expected).max():.1f}")
    assert expected.std() > 0.1  # the logits say something about the image
    assert np.abs(expected[0] - expected[1]).max() > 0.01
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)


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
    params = pretrained.load_huggingface(path, network_and_shapes("vit", 3, **ONE_BLOCK)[1])
    kernel = params["patch"]["kernel"]
    assert kernel[5, 7, 2, 6] == tensors["vit.embeddings.patch_embeddings.projection.weight"][6, 2, 5, 7]
    expand = params["block0"]["mlp"]["expand"]["kernel"]
    np.testing.assert_array_equal(expand, tensors["vit.encoder.layer.0.intermediate.dense.weight"].T)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == sum(tensor.size for tensor in tensors.values())


def without(name):
    return lambda tensors: tensors.pop(name)


def with_pooler(tensors):
    tensors["vit.pooler.dense.bias"] = np.zeros(8)


def unchanged(tensors):
    pass


MISFITS = {
    "a tensor is missing": (without("vit.layernorm.bias"), {}, "no tensor for norm/bias.*vit.layernorm.bias"),
    "a tensor is left": (with_pooler, {}, "lacks: vit.pooler.dense.bias"),
    "other classes": (unchanged, {"num_classes": 4}, r"classifier\.bias has the shape \(3,\).*\(4,\)"),
    "fewer blocks": (unchanged, {"depth": 2}, r"no tensor for block1/.*vit\.encoder\.layer\.1"),
    "no class token": (unchanged, {"pooling": "mean", "position": "sincos2d"}, "lacks: vit.embeddings.cls_token"),
    "a probe": (unchanged, {"pooling": "attention"}, "no tensor for p"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISFITS)
def test_a_file_that_does_not_fit_is_refused_in_one_line(case):
    change, fields, message = MISFITS[case]
    tensors = one_block_file()
    change(tensors)
    template = network_and_shapes("vit", **({"num_classes": 3} | ONE_BLOCK | fields))[1]
    with pytest.raises(UserError, match=message) as error:
        pretrained.from_huggingface(tensors, template)
    assert "\n" not in str(error.value)


def test_a_file_of_another_family_is_refused():
    template = network_and_shapes("convnextv2_atto", 3)[1]
    with pytest.raises(UserError, match=r"holds no convnextv2 network.*classifier\.weight"):
        pretrained.from_huggingface(one_block_file(), template)


def test_an_unreadable_file_is_refused_in_one_line(tmp_path):
    absent, broken = tmp_path / "absent.safetensors", tmp_path / "broken.safetensors"
    broken.write_bytes(b"no header")
    for path in (absent, broken, tmp_path):
        with pytest.raises(UserError, match=f"cannot read the pretrained weights {path}") as error:
            pretrained.load_huggingface(path, {})
        assert "\n" not in str(error.value)
