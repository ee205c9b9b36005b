"""Weights from elsewhere: Hugging Face's ConvNeXt V2 and ViT image classifiers, read from their safetensors files.

The names are those in the file, which `save_pretrained` keeps stable; a loaded model's `state_dict` has others.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util

from errors import UserError

# Our module path -> theirs. A convolution kernel, a dense kernel and a scale are all called `weight` there.
_MODULES = {
    "convnextv2": {
        r"stem": r"convnextv2.embeddings.patch_embeddings",
        r"stem_norm": r"convnextv2.embeddings.layernorm",
        r"stage(\d+)_norm": r"convnextv2.encoder.stages.\1.downsampling_layer.0",
        r"stage(\d+)_downsample": r"convnextv2.encoder.stages.\1.downsampling_layer.1",
        r"stage(\d+)_block(\d+)/depthwise": r"convnextv2.encoder.stages.\1.layers.\2.dwconv",
        r"stage(\d+)_block(\d+)/norm": r"convnextv2.encoder.stages.\1.layers.\2.layernorm",
        r"stage(\d+)_block(\d+)/expand": r"convnextv2.encoder.stages.\1.layers.\2.pwconv1",
        r"stage(\d+)_block(\d+)/grn": r"convnextv2.encoder.stages.\1.layers.\2.grn",
        r"stage(\d+)_block(\d+)/project": r"convnextv2.encoder.stages.\1.layers.\2.pwconv2",
        r"norm": r"convnextv2.layernorm",
        r"head": r"classifier",
    },
    "vit": {
        r"patch": r"vit.embeddings.patch_embeddings.projection",
        r"block(\d+)/attention_norm": r"vit.encoder.layer.\1.layernorm_before",
        r"block(\d+)/attention/(query|key|value)": r"vit.encoder.layer.\1.attention.attention.\2",
        r"block(\d+)/attention/out": r"vit.encoder.layer.\1.attention.output.dense",
        r"block(\d+)/mlp_norm": r"vit.encoder.layer.\1.layernorm_after",
        r"block(\d+)/mlp/expand": r"vit.encoder.layer.\1.intermediate.dense",
        r"block(\d+)/mlp/project": r"vit.encoder.layer.\1.output.dense",
        r"norm": r"vit.layernorm",
        r"head": r"classifier",
    },
}
_LEAVES = {"kernel": "weight", "scale": "weight", "gamma": "weight", "beta": "bias", "bias": "bias"}
_WHOLE_NAMES = {"class_token": "vit.embeddings.cls_token", "position": "vit.embeddings.position_embeddings"}


def from_huggingface(tensors: Mapping[str, np.ndarray], params: Mapping[str, Any]) -> dict[str, Any]:
    """Put the tensors of a Hugging Face image classifier into our parameter tree.

    Args:
      tensors: all tensors of a `ConvNextV2ForImageClassification` or `ViTForImageClassification` file, by name.
      params: the parameters of the same network, made by `init` (or `jax.eval_shape` of it); only their names, shapes
        and dtypes are used.

    Returns:
      A tree like `params` with the values of `tensors`.

    Raises:
      UserError: the file belongs to another network, lacks a tensor, has one of another shape, or has one too many.
    """
    family = "vit" if "patch" in params else "convnextv2"
    if not any(name.startswith(f"{family}.") for name in tensors):
        raise UserError(f"the pretrained file holds no {family} network; it begins with {', '.join([*tensors][:3])}")
    left_over = dict(tensors)
    converted = {}
    for path, template in traverse_util.flatten_dict(dict(params)).items():
        name = _huggingface_name(family, path)
        if name is None or name not in left_over:
            raise UserError(f"the pretrained file has no tensor for {'/'.join(path)} (looked for {name})")
        value = _to_our_layout(left_over.pop(name), path[-1])
        if value.shape != template.shape:
            raise UserError(
                f"the pretrained tensor {name} has the shape {value.shape} in our layout, "
                f"but {'/'.join(path)} of this network needs {template.shape}"
            )
        converted[path] = value.astype(template.dtype)
    if left_over:
        raise UserError(f"the pretrained file has tensors that this network lacks: {', '.join(sorted(left_over)[:3])}")
    return traverse_util.unflatten_dict(converted)


def load_huggingface(path: str | Path, params: Mapping[str, Any]) -> dict[str, Any]:
    """Read a safetensors file into our parameter tree; see from_huggingface. Nothing is unpickled.

    Raises:
      UserError: the file is absent, is no safetensors file, or does not fit `params`.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot read the pretrained weights {path}: {error}") from error
    return from_huggingface(tensors, params)


def _huggingface_name(family: str, path: tuple[str, ...]) -> str | None:
    if len(path) == 1:
        return _WHOLE_NAMES.get(path[0])
    module = "/".join(path[:-1])
    for pattern, replacement in _MODULES[family].items():
        match = re.fullmatch(pattern, module)
        if match:
            return f"{match.expand(replacement)}.{_LEAVES[path[-1]]}"
    return None


def _to_our_layout(tensor: np.ndarray, leaf: str) -> np.ndarray:
    if leaf in ("gamma", "beta"):
        return tensor.reshape(-1)  # from [1, 1, 1, C]
    if leaf != "kernel":
        return tensor
    # From [out, in], or [out, in, height, width]; a depthwise kernel is [C, 1, k, k], here [k, k, 1, C].
    return tensor.T if tensor.ndim == 2 else tensor.transpose(2, 3, 1, 0)
