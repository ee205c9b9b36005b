"""From `config.network` to a Flax module: the names, their sizes, and every check of what a user may set.

The networks are ConvNeXt V2 and the Vision Transformer. Both map normalised float32 images [B, H, W, C] to float32
logits [B, num_classes] and sow the embeddings that the head sees (see layers.classify).
"""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

import flax.linen as nn

from errors import UserError
from networks import layers
from networks.convnext import ConvNeXtV2
from networks.vit import ViT

_CONVNEXT_DEPTHS_AND_WIDTHS = {
    "atto": ((2, 2, 6, 2), (40, 80, 160, 320)),
    "femto": ((2, 2, 6, 2), (48, 96, 192, 384)),
    "pico": ((2, 2, 6, 2), (64, 128, 256, 512)),
    "nano": ((2, 2, 8, 2), (80, 160, 320, 640)),
    "tiny": ((3, 3, 9, 3), (96, 192, 384, 768)),
    "base": ((3, 3, 27, 3), (128, 256, 512, 1024)),
    "large": ((3, 3, 27, 3), (192, 384, 768, 1536)),
    "huge": ((3, 3, 27, 3), (352, 704, 1408, 2816)),
}

# Widths and depths: Touvron et al., arXiv 2012.12877 (Ti, S); Dosovitskiy et al., arXiv 2010.11929 (B, L);
# Alabdulmohsin et al., arXiv 2305.13035 (So400m).
_VIT_SIZES = {
    "vit_ti16": {"width": 192, "depth": 12, "mlp_dim": 768, "num_heads": 3, "patch_size": 16},
    "vit_s16": {"width": 384, "depth": 12, "mlp_dim": 1536, "num_heads": 6, "patch_size": 16},
    "vit_b16": {"width": 768, "depth": 12, "mlp_dim": 3072, "num_heads": 12, "patch_size": 16},
    "vit_l16": {"width": 1024, "depth": 24, "mlp_dim": 4096, "num_heads": 16, "patch_size": 16},
    "vit_so400m14": {"width": 1152, "depth": 27, "mlp_dim": 4304, "num_heads": 16, "patch_size": 14},
}

# Name -> module and the fields that the name stands for; "vit" and "convnextv2" leave their size to the user.
_NETWORKS: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {
    **{
        f"convnextv2_{size}": (ConvNeXtV2, {"depths": depths, "widths": widths})
        for size, (depths, widths) in _CONVNEXT_DEPTHS_AND_WIDTHS.items()
    },
    **{name: (ViT, size) for name, size in _VIT_SIZES.items()},
    "convnextv2": (ConvNeXtV2, {}),
    "vit": (ViT, {}),
}

NAMES = tuple(_NETWORKS)

_CHOICES = {
    "compute_dtype": ("float32", "bfloat16"),
    "activation": tuple(layers.ACTIVATIONS),
    "head_init": tuple(layers.HEAD_INITIALIZERS),
    "position": ("learned", "sincos2d"),
    "pooling": ("token", "mean", "attention"),
}
_COUNTS = ("patch_size", "kernel_size", "width", "depth", "mlp_dim", "num_heads")
_LISTS_OF_COUNTS = ("depths", "widths")
_RATES = ("stochastic_depth", "dropout")
_SWITCHES = ("stem_bias",)


def build(config: Mapping[str, Any], num_classes: int) -> nn.Module:
    """Make the network that `config.network` describes.

    Args:
      config: `name` (one of NAMES) and any of that network's fields; None and absent alike mean the network's default.
      num_classes: outputs of the head.

    Returns:
      A module with `__call__(images, *, train=False) -> logits`.

    Raises:
      UserError: an unknown name, a field that the network does not have, or a value that it cannot have.
    """
    fields = {field: value for field, value in config.items() if value is not None}
    name = fields.pop("name", None)
    if name not in _NETWORKS:
        close = difflib.get_close_matches(str(name), NAMES, n=3) or NAMES
        raise UserError(f"network.name is {name!r}; names like it: {', '.join(close)}")
    network, size = _NETWORKS[name]

    _check_fields(name, network, fields)
    for field, value in fields.items():
        _check_value(field, value)
    fields = {**size, **{field: _as_plain(value) for field, value in fields.items()}}
    _check_completeness(name, network, fields)
    (_check_vit if network is ViT else _check_convnext)(fields)
    return network(num_classes=num_classes, **fields)


def _fields_of(network: type[nn.Module]) -> dict[str, dataclasses.Field]:
    inherited = ("parent", "name", "num_classes")
    return {field.name: field for field in dataclasses.fields(network) if field.name not in inherited}


def _check_fields(name: str, network: type[nn.Module], fields: Mapping[str, Any]) -> None:
    known = _fields_of(network)
    for field in fields:
        if field not in known:
            raise UserError(f"network.{field} is set, but {name} has no such field; it has {', '.join(known)}")


def _check_value(field: str, value: Any) -> None:
    def refuse(right: str) -> None:
        raise UserError(f"network.{field} is {value!r}; it must be {right}")

    if field in _CHOICES and value not in _CHOICES[field]:
        refuse("one of " + ", ".join(_CHOICES[field]))
    if field in _COUNTS and not _is_count(value):
        refuse("a whole number of at least 1")
    if field in _LISTS_OF_COUNTS and not (isinstance(value, tuple | list) and value and all(map(_is_count, value))):
        refuse("a tuple of whole numbers of at least 1, one per stage")
    if field in _RATES and not (isinstance(value, int | float) and 0 <= value < 1):
        refuse("at least 0 and below 1")
    if field in _SWITCHES and not isinstance(value, bool):
        refuse("True or False")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _as_plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value  # module fields are hashable


def _check_completeness(name: str, network: type[nn.Module], fields: Mapping[str, Any]) -> None:
    required = [field for field, entry in _fields_of(network).items() if entry.default is dataclasses.MISSING]
    missing = [field for field in required if field not in fields]
    if missing:
        raise UserError(f"network.name is {name!r}, which needs network.{' and network.'.join(missing)} as well")


def _check_convnext(fields: Mapping[str, Any]) -> None:
    num_depths, num_widths = len(fields["depths"]), len(fields["widths"])
    if num_depths != num_widths:
        raise UserError(
            f"network.depths has {num_depths} stages and network.widths {num_widths}: both must have the same number"
        )


def _check_vit(fields: Mapping[str, Any]) -> None:
    width, num_heads = fields["width"], fields["num_heads"]
    if width % num_heads:
        raise UserError(f"network.num_heads is {num_heads}; it must divide network.width, which is {width}")
    if fields.get("position") == "sincos2d" and (width % 4 or width < 8):
        raise UserError(
            f"network.width is {width}; with network.position sincos2d it must be a multiple of 4 and at least 8"
        )
