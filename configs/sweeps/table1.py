"""Table 1 of the paper on CIFAR-10: two networks, three sets of labels, with and without validation data, every rule.

uv run scripts/sweep.py configs/sweeps/table1.py

54 runs, for an accelerator; how long they take there has not been measured. Every cell is run once before any is run
twice. Epochs follow the share of the data that is left for training, so that all runs take the same number of steps.
"""

import itertools

from errors import UserError
from experiments.sweeps import Run
from gwa import RULES

LABELS = {"clean": "label", "aggre": "aggre_label", "random1": "random_label1"}
EPOCHS = {  # by share of validation data: 35,000 steps of 256 samples, 9,000 of 512
    "vit": {0.0: 179, 0.1: 200, 0.01: 181},
    "convnext": {0.0: 92, 0.1: 103, 0.01: 93},
}
SEEDS = (0, 1, 2)


def get_runs(variant: str = "cifar10") -> list[Run]:
    """Network × labels × share of validation data × seed; without validation data its rules are left out."""
    if variant != "cifar10":
        raise UserError(f"table1 has the variant cifar10, not {variant!r}")
    runs = []
    for seed, (network, epochs), (labels, key) in itertools.product(SEEDS, EPOCHS.items(), LABELS.items()):
        for validation, count in epochs.items():
            rules = [name for name, rule in RULES.items() if validation or not rule.uses_validation()]
            overrides = {
                "epochs": count,
                "dataset.name": "cifar10_n",
                "dataset.label_key": key,
                "dataset.val_fraction": validation,
                "stopping.rules": tuple(rules),
                "seed": seed,
            }
            cell = {"network": network, "labels": labels, "validation": validation, "seed": seed}
            runs.append(Run(f"configs/cifar10_{network}.py", cell, overrides))
    return runs
