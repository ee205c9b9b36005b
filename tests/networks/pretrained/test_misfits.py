"""Weights that do not fit, or cannot be read, are refused in one line that names them."""

import re

import numpy as np
import pytest
from pretrained_files import (
    ONE_BLOCK,
    SMALL,
    network_and_shapes,
    one_block_file,
    small_google_file,
    small_network,
    started_by_config,
    written,
)
from safetensors.numpy import save_file

from errors import UserError
from networks import pretrained


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
