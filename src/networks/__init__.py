"""From `config.network` to a Flax module, and what the trainer expects of a module.

ConvNeXt V2 and the Vision Transformer are here; others come from outside as `my_module:MyNet` (docs/extending.md). A
network maps normalised float32 images [B, H, W, C] to float32 logits [B, num_classes] and sows the embeddings that its
head sees (see layers.classify).
"""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
from flax.core import FrozenDict

from errors import UserError
from extensions import is_external, load_object
from networks import convnext, vit
from networks.contract import check_contract, check_head

# Every family: its module, and the fields that each of its names stands for. A further network is one more line.
_FAMILIES: tuple[tuple[type[nn.Module], Mapping[str, Mapping[str, Any]]], ...] = (
    (convnext.ConvNeXtV2, convnext.SIZES),
    (vit.ViT, vit.SIZES),
)
_NETWORKS = {name: (module, size) for module, sizes in _FAMILIES for name, size in sizes.items()}

NAMES = tuple(_NETWORKS)


def build(config: Mapping[str, Any], num_classes: int) -> nn.Module:
    """Make the network that `config.network` describes.

    Args:
      config: `name`, one of NAMES or `module:Class`; any of that network's fields, here or, as fields of modules from
        outside have no place here, in `options`. None and absent alike mean the network's default.
      num_classes: outputs of the head.

    Returns:
      A module with `__call__(images, *, train=False) -> logits`.

    Raises:
      UserError: an unknown name, a field that the network does not have, or a value that it cannot have.
    """
    given = {field: value for field, value in config.items() if value is not None and field not in ("name", "options")}
    options = dict(config.get("options") or {})
    name = config.get("name")
    module, size = _find_network(name)
    known = {field.name: field for field in dataclasses.fields(module) if field.init}
    for field in ("parent", "name", "num_classes"):
        del known[field]
    if "compute_dtype" not in known and given.get("compute_dtype") == "float32":
        del given["compute_dtype"]  # the config's default, and what a module without this field computes in
    for field in [*given, *(f"options.{option}" for option in options)]:
        if field.removeprefix("options.") not in known:
            raise UserError(
                f"network.{field} is set, but {name} has no such field; it has {', '.join(known) or 'none'}"
            )
    values = {**size, **{field: _make_hashable(value) for field, value in (given | options).items()}}
    missing = [
        f"network.{'options.' if is_external(name) else ''}{field.name}"
        for field in known.values()
        if field.name not in values and field.default is field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise UserError(f"network.name is {name!r}, which needs {' and '.join(missing)} as well")
    network = module(num_classes=num_classes, **values)
    if hasattr(network, "check"):
        network.check()
    return network


def _find_network(name: Any) -> tuple[type[nn.Module], Mapping[str, Any]]:
    """The module of that name, and the fields that the name stands for."""
    if is_external(name):
        module = load_object(name, "network.name", nn.Module)
        if not any(field.name == "num_classes" for field in dataclasses.fields(module)):
            raise UserError(f"network.name is {name!r}, which has no field num_classes; the outputs of its head")
        return module, {}
    if name not in _NETWORKS:
        close = difflib.get_close_matches(str(name), NAMES, n=3) or NAMES
        raise UserError(f"network.name is {name!r}; names like it: {', '.join(close)}")
    return _NETWORKS[name]


def _make_hashable(value: Any) -> Any:
    """A list as a tuple, a dictionary frozen: the fields of a module are hashed."""
    if isinstance(value, list | tuple):
        return tuple(map(_make_hashable, value))
    if isinstance(value, Mapping):
        return FrozenDict({key: _make_hashable(entry) for key, entry in value.items()})
    return value


__all__ = ["NAMES", "build", "check_contract", "check_head"]
