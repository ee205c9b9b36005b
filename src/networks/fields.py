"""Checks of a network's fields, for its `check`: each raises a UserError that names the field and the value it has."""

from collections.abc import Collection
from typing import Any, NoReturn

import flax.linen as nn

from errors import UserError
from networks.layers import ACTIVATIONS, HEAD_INITIALIZERS


def require_counts(network: nn.Module, *names: str) -> None:
    """Each of these fields must be a whole number of at least 1."""
    for name in names:
        if not _is_count(getattr(network, name)):
            _refuse(network, name, "a whole number of at least 1")


def require_tuples_of_counts(network: nn.Module, *names: str) -> None:
    """Each of these fields must be a tuple of whole numbers of at least 1."""
    for name in names:
        value = getattr(network, name)
        if not (isinstance(value, tuple) and value and all(map(_is_count, value))):
            _refuse(network, name, "a tuple of whole numbers of at least 1, one per stage")


def require_rates(network: nn.Module, *names: str) -> None:
    """Each of these fields must be a share in [0, 1)."""
    for name in names:
        value = getattr(network, name)
        if not (isinstance(value, int | float) and 0 <= value < 1):
            _refuse(network, name, "at least 0 and below 1")


def require_switches(network: nn.Module, *names: str) -> None:
    """Each of these fields must be True or False."""
    for name in names:
        if not isinstance(getattr(network, name), bool):
            _refuse(network, name, "True or False")


def require_choices(network: nn.Module, **choices: Collection[str]) -> None:
    """Each field must be one of its choices."""
    for name, known in choices.items():
        if getattr(network, name) not in known:
            _refuse(network, name, f"one of {', '.join(known)}")


def check_common(network: nn.Module) -> None:
    """Checks the fields that our networks share."""
    require_rates(network, "stochastic_depth")
    require_choices(network, activation=ACTIVATIONS, head_init=HEAD_INITIALIZERS, compute_dtype=("float32", "bfloat16"))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _refuse(network: nn.Module, name: str, right: str) -> NoReturn:
    raise UserError(f"network.{name} is {getattr(network, name)!r}; it must be {right}")
