"""What the fields of our networks may hold: `check_fields(self, width=COUNT, dropout=SHARE)` in a network's `check`."""

import flax.linen as nn

from errors import UserError
from fields import COUNT, SHARE, SWITCH, Kind, explain, one_of, several
from networks.layers import ACTIVATIONS, HEAD_INITIALIZERS

COUNTS = several(COUNT, least=1, distinct=False)

_COMMON = {
    "stochastic_depth": SHARE,
    "activation": one_of(*ACTIVATIONS),
    "head_init": one_of(*HEAD_INITIALIZERS),
    "compute_dtype": one_of("float32", "bfloat16"),
}


def check_fields(network: nn.Module, **kinds: Kind) -> None:
    """Refuses fields that are not of their kind, and those that all our networks have.

    Raises:
      UserError: it names the field and the value it has.
    """
    for name, kind in (kinds | _COMMON).items():
        value = getattr(network, name)
        if not kind.fits(value):
            raise UserError(explain(f"network.{name}", value, kind))


__all__ = ["COUNT", "COUNTS", "SHARE", "SWITCH", "check_fields", "one_of"]
