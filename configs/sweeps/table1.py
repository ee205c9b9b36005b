"""Table 1 of the paper: two networks, with and without validation data, every rule.

uv run scripts/sweep.py configs/sweeps/table1.py
uv run scripts/sweep.py configs/sweeps/table1.py:bfloat16
uv run scripts/sweep.py configs/sweeps/table1.py:imagenet --config.evaluate_path=DATA

54 runs on CIFAR-10 with three sets of labels, or 18 on ImageNet, which are evaluated on V2 and ReaL in DATA too. They
need accelerators: on an H200 a ConvNeXt run on CIFAR-10 takes 4.6 minutes and a ViT run about 7, on ImageNet nothing
has been measured. `bfloat16` is the same as on CIFAR-10 with the networks in that precision; the paper's is float32,
and the ConvNeXt takes 0.65 of the time per step. Every cell is run once before any is run twice. The number of epochs
depends on the share of the data that is left for training, so that all runs take about the same number of steps: as in
the paper's repository, it is the number of whole epochs in the paper's steps, without partial batches.

The held-out labels of CIFAR-10 are clean, as in the paper, even where those of training are not: the rules that
validate read clean labels, which a user with noisy labels does not have.
"""

import itertools
from typing import Any

from errors import UserError
from gwa import RULES
from sweeps import Run

LABELS = {"clean": "label", "aggre": "aggre_label", "random1": "random_label1"}
EPOCHS = {  # by share of validation data, for 35,000 steps of 256 samples and 9,000 of 512
    "vit": {0.0: 179, 0.1: 200, 0.01: 181},
    "convnext": {0.0: 92, 0.1: 103, 0.01: 93},
}
IMAGENET_EPOCHS = {0.0: 90, 0.1: 100, 0.01: 90}  # 112,650 steps of 1024 images
SEEDS = (0, 1, 2)


def get_runs(variant: str = "cifar10") -> list[Run]:
    """Network × labels (CIFAR-10) × share of validation data × seed. Rules that use validation data need some."""
    if variant not in ("cifar10", "bfloat16", "imagenet"):
        raise UserError(f"table1 has the variants cifar10, bfloat16 and imagenet, not {variant!r}")
    if variant == "imagenet":
        return _imagenet()
    return _cifar10({"network.compute_dtype": "bfloat16"} if variant == "bfloat16" else {})


def _cifar10(fields: dict[str, Any]) -> list[Run]:
    runs = []
    for seed, (network, epochs), (labels, key) in itertools.product(SEEDS, EPOCHS.items(), LABELS.items()):
        for validation, count in epochs.items():
            cell = {"network": network, "labels": labels, "validation": validation, "seed": seed}
            data = {"dataset.name": "cifar10_n", "dataset.label_key": key, **fields}
            runs.append(Run(f"configs/cifar10_{network}.py", cell, data | _fields(count, validation, seed)))
    return runs


def _imagenet() -> list[Run]:
    runs = []
    for seed, network, (validation, count) in itertools.product(SEEDS, EPOCHS, IMAGENET_EPOCHS.items()):
        cell = {"network": network, "validation": validation, "seed": seed}
        fields = {**_fields(count, validation, seed), "evaluate": ("imagenet_v2", "imagenet_real")}
        runs.append(Run(f"configs/imagenet_{network}.py", cell, fields))
    return runs


def _fields(epochs: int, validation: float, seed: int) -> dict[str, Any]:
    rules = tuple(name for name, rule in RULES.items() if validation or not rule.uses_validation())
    return {"epochs": epochs, "dataset.val_fraction": validation, "stopping.rules": rules, "seed": seed}
