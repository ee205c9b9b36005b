"""What the fields of our networks may hold: `check_fields(self, width=COUNT, dropout=RATE)` in a network's `check`."""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import flax.linen as nn

from errors import UserError
from networks.layers import ACTIVATIONS, HEAD_INITIALIZERS


class Kind(NamedTuple):
    """A test of a value, and the words for what passes it."""

    fits: Callable[[Any], bool]
    right: str


def one_of(choices: Collection[str]) -> Kind:
    """One of these texts."""
    return Kind(lambda value: value in choices, f"one of {', '.join(choices)}")


def check_fields(network: nn.Module, **kinds: Kind) -> None:
    """Refuses fields that are not of their kind, and those that all our networks have.

    Raises:
      UserError: it names the field and the value it has.
    """
    for name, kind in (kinds | _COMMON).items():
        value = getattr(network, name)
        if not kind.fits(value):
            raise UserError(f"network.{name} is {value!r}; it must be {kind.right}")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


COUNT = Kind(_is_count, "a whole number of at least 1")
COUNTS = Kind(
    lambda value: isinstance(value, tuple) and len(value) > 0 and all(map(_is_count, value)),
    "a tuple of whole numbers of at least 1, one per stage",
)
RATE = Kind(lambda value: isinstance(value, int | float) and 0 <= value < 1, "at least 0 and below 1")
SWITCH = Kind(lambda value: isinstance(value, bool), "True or False")

_COMMON = {
    "stochastic_depth": RATE,
    "activation": one_of(ACTIVATIONS),
    "head_init": one_of(HEAD_INITIALIZERS),
    "compute_dtype": one_of(("float32", "bfloat16")),
}
