"""Finds the head of a PyTorch model, and refuses a layer for which the score would mean something else."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

_TOLERANCE = 1e-3  # of an output relative to ‖x‖ ‖w‖; wide enough for TF32 and for half precision


def find(model: nn.Module, head: nn.Module | str | None) -> tuple[str, nn.Linear]:
    """The linear layer whose outputs are the logits, and its dotted name in the model.

    Args:
      model: may be wrapped by `torch.compile` or DistributedDataParallel.
      head: the module itself, its dotted name, or None for the last `nn.Linear`, which a warning names.

    Raises:
      ValueError: when there is no such layer, or the score is not defined for it.
    """
    model = _unwrap(model)
    names = {module: name for name, module in model.named_modules()}
    if head is None:
        linear = [module for module in names if isinstance(module, nn.Linear)]
        if not linear:
            raise ValueError(f"head: {type(model).__name__} has no nn.Linear whose output could be the logits")
        head = linear[-1]
        logging.warning(
            "gwa: the head is taken to be %r, the last nn.Linear; set head=... if it is another layer", names[head]
        )
    elif isinstance(head, str):
        head = _find_named(model, head)
    elif head not in names:
        raise ValueError(f"head: the given {type(head).__name__} is no part of the {type(model).__name__}")
    head = _trained_copy(head)
    _check(names[head], head)
    _check_alone(model, names[head], head)
    return names[head], head


def _unwrap(model: nn.Module) -> nn.Module:
    if isinstance(model, nn.DataParallel):
        raise ValueError("model: nn.DataParallel runs copies of the head; use DistributedDataParallel")
    if isinstance(model, nn.parallel.DistributedDataParallel):
        return _unwrap(model.module)
    return _unwrap(model._orig_mod) if hasattr(model, "_orig_mod") else model


def _find_named(model: nn.Module, name: str) -> nn.Module:
    """The module of this dotted name, or the only one whose name ends with it, inside a wrapper such as PEFT's."""
    modules = dict(model.named_modules(remove_duplicate=False))
    found = [name] if name in modules else [full for full in modules if full.endswith(f".{name}")]
    if len(found) == 1:
        return modules[found[0]]
    if found:
        raise ValueError(f"head: {type(model).__name__} has several modules {name!r}: {', '.join(found)}")
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    last = ", ".join(linear[-3:]) or "none"
    raise ValueError(f"head: {type(model).__name__} has no module {name!r}; its last nn.Linear: {last}")


def _trained_copy(head: nn.Module) -> nn.Module:
    """For a module in PEFT's `modules_to_save`: its copy that the active adapter trains, in place of the wrapper."""
    copies, active = getattr(head, "modules_to_save", None), getattr(head, "active_adapters", None)
    return copies[active[0]] if isinstance(copies, nn.ModuleDict) and active else head


def _check(name: str, head: nn.Module) -> None:
    if not isinstance(head, nn.Linear):
        kind = f"{type(head).__module__}.{type(head).__qualname__}"
        raise ValueError(f"head: {name!r} is a {kind}; the score is defined for an nn.Linear")
    if isinstance(head.weight, nn.UninitializedParameter):
        raise ValueError(f"head: {name!r} has no size before its first forward pass; run a batch through the model")
    if hasattr(head.weight, "placements"):
        raise ValueError(
            f"head: the weight of {name!r} is a DTensor, distributed over processes; make the monitor before "
            "fully_shard or any other call that distributes the model"
        )
    if head.weight.shape != (head.out_features, head.in_features):
        raise ValueError(
            f"head: the weight of {name!r} has the shape {tuple(head.weight.shape)}, not "
            f"{(head.out_features, head.in_features)} (out_features, in_features)"
        )
    if head.out_features < 2:
        raise ValueError(f"head: {name!r} has {head.out_features} output; the score needs at least 2 classes")
    if not _is_affine(head):
        raise ValueError(
            f"head: {name!r}, a {type(head).__name__}, does not return x @ weight.T + bias, for which "
            "alone the score is defined"
        )


def _check_alone(model: nn.Module, name: str, head: nn.Linear) -> None:
    for other, module in model.named_modules():
        shared = module is not head and any(tensor is head.weight for tensor in module.parameters(recurse=False))
        if shared:
            raise ValueError(
                f"head: the weight of {name!r} is tied to that of {other!r}, so its gradient has a part that the "
                "logits do not show; gwa.torch.head_alignment gives the head's part alone"
            )


@torch.no_grad()
def _is_affine(head: nn.Linear) -> bool:
    """Whether the layer computes x @ weight.T + bias, tried on two inputs of equal direction and different length."""
    weight = head.weight.float()
    direction = torch.arange(1.0, head.in_features + 1, device=weight.device).cos()
    inputs = torch.stack([direction, 3 * direction])
    bias = torch.zeros_like(weight[:, 0]) if head.bias is None else head.bias.float()
    try:
        outputs = head.forward(inputs.to(head.weight.dtype))
    except (TypeError, RuntimeError):
        return False
    if not isinstance(outputs, Tensor) or outputs.shape != (2, head.out_features):
        return False
    scale = inputs.norm(dim=-1, keepdim=True) * weight.norm(dim=-1) + bias.abs()
    tolerance = max(_TOLERANCE, 4 * torch.finfo(outputs.dtype).eps) * scale
    return bool(((outputs.float() - inputs @ weight.T - bias).abs() <= tolerance).all())
