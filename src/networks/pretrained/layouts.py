"""How Hugging Face and Google name and lay out the weights of our networks.

Hugging Face's names are those in the file, which `save_pretrained` keeps stable; the `state_dict` of a loaded model has
other names. Google's are those of the original ViT and AugReg (pre-Linen numbering) or of big_vision (Linen numbering).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

Path = tuple[str, ...]  # of a parameter in our tree
Shape = tuple[int, ...]


class Slot(NamedTuple):
    """Where a file keeps one of our parameters.

    Attributes:
      name: in the file.
      shape: in the file.
      axes: permutes the file's axes into ours, before a reshape merges axes that the file keeps apart.
    """

    name: str
    shape: Shape
    axes: tuple[int, ...]


class Layout:
    """The names of one kind of file; this one is a checkpoint of one of our runs, or its network exported."""

    def find_slot(self, path: Path, shape: Shape) -> Slot | None:
        """Where such a file keeps our parameter at `path`, of `shape`; None if it has no place for it."""
        return Slot("/".join(path), shape, tuple(range(len(shape))))

    def belongs_to_head(self, name: str) -> bool:
        """Whether a weight comes after the embeddings: in the head, or in a layer before it that our networks lack."""
        return name.startswith("head/")


class HuggingFace(Layout):
    """ConvNextV2ForImageClassification and ViTForImageClassification, or the same without a head.

    Args:
      family: `convnextv2` or `vit`.
      names: of the file's weights; models without a head leave out the prefix.
    """

    _MODULES: Mapping[str, Mapping[str, str]] = {
        "convnextv2": {
            r"stem": r"embeddings.patch_embeddings",
            r"stem_norm": r"embeddings.layernorm",
            r"stage(\d+)_norm": r"encoder.stages.\1.downsampling_layer.0",
            r"stage(\d+)_downsample": r"encoder.stages.\1.downsampling_layer.1",
            r"stage(\d+)_block(\d+)/depthwise": r"encoder.stages.\1.layers.\2.dwconv",
            r"stage(\d+)_block(\d+)/norm": r"encoder.stages.\1.layers.\2.layernorm",
            r"stage(\d+)_block(\d+)/expand": r"encoder.stages.\1.layers.\2.pwconv1",
            r"stage(\d+)_block(\d+)/grn": r"encoder.stages.\1.layers.\2.grn",
            r"stage(\d+)_block(\d+)/project": r"encoder.stages.\1.layers.\2.pwconv2",
            r"norm": r"layernorm",
        },
        "vit": {
            r"patch": r"embeddings.patch_embeddings.projection",
            r"block(\d+)/attention_norm": r"encoder.layer.\1.layernorm_before",
            r"block(\d+)/attention/(query|key|value)": r"encoder.layer.\1.attention.attention.\2",
            r"block(\d+)/attention/out": r"encoder.layer.\1.attention.output.dense",
            r"block(\d+)/mlp_norm": r"encoder.layer.\1.layernorm_after",
            r"block(\d+)/mlp/expand": r"encoder.layer.\1.intermediate.dense",
            r"block(\d+)/mlp/project": r"encoder.layer.\1.output.dense",
            r"norm": r"layernorm",
        },
    }
    # A convolution kernel, a dense kernel and a scale are all called `weight` there.
    _LEAVES: Mapping[str, str] = {
        "kernel": "weight", "scale": "weight", "gamma": "weight", "beta": "bias", "bias": "bias"
    }  # fmt: skip
    _WHOLE_NAMES: Mapping[str, str] = {
        "class_token": "embeddings.cls_token",
        "position": "embeddings.position_embeddings",
    }

    def __init__(self, family: str, names: Collection[str]):
        self._modules = self._MODULES[family]
        self._prefix = f"{family}." if any(name.startswith(f"{family}.") for name in names) else ""

    def find_slot(self, path: Path, shape: Shape) -> Slot | None:
        """See Layout."""
        if len(path) == 1:
            return Slot(self._prefix + self._WHOLE_NAMES[path[0]], shape, (0, 1, 2))
        module = "classifier" if path[0] == "head" else _translate("/".join(path[:-1]), self._modules)
        if module is None:
            return None
        prefix = "" if path[0] == "head" else self._prefix
        return Slot(f"{prefix}{module}.{self._LEAVES[path[-1]]}", *self._axes(path[-1], shape))

    def belongs_to_head(self, name: str) -> bool:
        """See Layout."""
        return name.removeprefix(self._prefix).startswith(("classifier.", "pooler."))

    def _axes(self, leaf: str, shape: Shape) -> tuple[Shape, tuple[int, ...]]:
        if leaf in ("gamma", "beta"):
            return (1, 1, 1, *shape), (0, 1, 2, 3)
        if leaf != "kernel":
            return shape, (0,)
        # From [out, in], or [out, in, height, width]; a depthwise kernel is [C, 1, k, k], here [k, k, 1, C].
        if len(shape) == 2:
            return shape[::-1], (1, 0)
        return (shape[3], shape[2], *shape[:2]), (2, 3, 1, 0)


class Google(Layout):
    """The Vision Transformer of `vision_transformer` and big_vision.

    Args:
      names: of the file's weights.
      num_heads: of the network: attention kernels keep their heads apart, `[D, heads, D / heads]`.
    """

    _MODULES: Mapping[str, str] = {
        r"patch": r"embedding",
        r"block(\d+)/attention_norm": r"Transformer/encoderblock_\1/LayerNorm_0",
        r"block(\d+)/attention/(query|key|value|out)": r"Transformer/encoderblock_\1/MultiHeadDotProductAttention_1/\2",
        r"block(\d+)/mlp_norm": r"Transformer/encoderblock_\1/LayerNorm_2",
        r"block(\d+)/mlp/expand": r"Transformer/encoderblock_\1/MlpBlock_3/Dense_0",
        r"block(\d+)/mlp/project": r"Transformer/encoderblock_\1/MlpBlock_3/Dense_1",
        r"norm": r"Transformer/encoder_norm",
        r"pool/attention/(query|key|value|out)": r"MAPHead_0/MultiHeadDotProductAttention_0/\1",
        r"pool/norm": r"MAPHead_0/LayerNorm_0",
        r"pool/mlp/expand": r"MAPHead_0/MlpBlock_0/Dense_0",
        r"pool/mlp/project": r"MAPHead_0/MlpBlock_0/Dense_1",
        r"head": r"head",
    }
    # The original numbers all modules of a block together, Linen each kind separately.
    _LINEN: Mapping[str, str] = {
        "MultiHeadDotProductAttention_1": "MultiHeadDotProductAttention_0",
        "LayerNorm_2": "LayerNorm_1",
        "MlpBlock_3": "MlpBlock_0",
    }
    _POSITIONS = ("Transformer/posembed_input/pos_embedding", "Transformer/pos_embedding", "pos_embedding")

    def __init__(self, names: Collection[str], num_heads: int):
        self._num_heads = num_heads
        self._prefix = "params/" if any(name.startswith("params/") for name in names) else ""
        self._linen = not any("MlpBlock_3" in name for name in names)
        found = [name for name in self._POSITIONS if self._prefix + name in names]
        self._whole_names = {"class_token": "cls", "position": [*found, self._POSITIONS[0]][0]}

    def find_slot(self, path: Path, shape: Shape) -> Slot | None:
        """See Layout."""
        if path in (("class_token",), ("position",)):
            return Slot(self._prefix + self._whole_names[path[0]], shape, (0, 1, 2))
        if path == ("pool", "probe"):
            return Slot(f"{self._prefix}MAPHead_0/probe", shape, (0, 1, 2))
        module = _translate("/".join(path[:-1]), self._MODULES)
        if module is None:
            return None
        if self._linen and path[0].startswith("block"):
            for numbered, linen in self._LINEN.items():
                module = module.replace(numbered, linen)
        shape = self._split_heads(path, shape)
        return Slot(f"{self._prefix}{module}/{path[-1]}", shape, tuple(range(len(shape))))

    def belongs_to_head(self, name: str) -> bool:
        """See Layout."""
        return name.removeprefix(self._prefix).startswith(("head/", "pre_logits/"))

    def _split_heads(self, path: Path, shape: Shape) -> Shape:
        if "attention" not in path:
            return shape
        heads = (self._num_heads, shape[0] // self._num_heads)
        if path[-2] == "out":
            return shape if path[-1] == "bias" else (*heads, shape[1])
        return heads if path[-1] == "bias" else (shape[0], *heads)


def _translate(module: str, modules: Mapping[str, str]) -> str | None:
    for pattern, replacement in modules.items():
        match = re.fullmatch(pattern, module)
        if match:
            return match.expand(replacement)
    return None
