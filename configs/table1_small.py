"""One run of `configs/sweeps/table1_small.py`: 10,000 images of CIFAR-10, with every rule.

uv run src/train.py --config=configs/table1_small.py
uv run src/train.py --config=configs/table1_small.py:validation --config.dataset.val_fraction=0.1

About 5 minutes on 2 CPU cores that run nothing else.
"""

from ml_collections import ConfigDict

from configs import cifar10_small
from errors import UserError
from gwa import RULES


def get_config(variant: str = "training") -> ConfigDict:
    """`training`, or `validation`, which adds the rules that read held-out data."""
    if variant not in ("training", "validation"):
        raise UserError(f"--config: table1_small has the variants training and validation, not {variant!r}")
    config = cifar10_small.get_config()
    config.epochs = 40
    config.dataset.name = "cifar10_n"
    config.network.patch_size = 4
    config.network.depths = (2, 2)
    config.network.widths = (64, 128)
    config.stopping.rules = tuple(
        name for name, rule in RULES.items() if variant == "validation" or not rule.uses_validation()
    )
    config.estimators = ("textbook",)
    return config
