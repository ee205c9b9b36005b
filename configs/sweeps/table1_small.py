"""Table 1 of the paper in small: 10,000 images of CIFAR-10, three sets of labels, every rule from each run.

uv run scripts/sweep.py configs/sweeps/table1_small.py

Every cell is run once before any is run twice.
"""

import itertools

from experiments.sweeps import Run
from gwa import RULES

LABELS = {"clean": "label", "aggre": "aggre_label", "random1": "random_label1"}
AUGMENTATIONS = {"crop_flip": {}, "none": {"augment.pad": 0, "augment.flip": False}}
VALIDATION = (0.0, 0.1, 0.01)
SEEDS = (0, 1, 2)


def get_runs() -> list[Run]:
    """Labels × augmentation × share of validation data × seed; without validation data its rules are left out."""
    runs = []
    for seed, validation, (augmentation, augment), (labels, key) in itertools.product(
        SEEDS, VALIDATION, AUGMENTATIONS.items(), LABELS.items()
    ):
        rules = [name for name, rule in RULES.items() if validation or not rule.uses_validation()]
        overrides = {
            "epochs": 40,
            "dataset.name": "cifar10_n",
            "dataset.label_key": key,
            "dataset.val_fraction": validation,
            "stopping.rules": tuple(rules),
            "seed": seed,
            **augment,
        }
        cell = {"labels": labels, "augmentation": augmentation, "validation": validation, "seed": seed}
        runs.append(Run("configs/cifar10_small.py", cell, overrides))
    return runs
