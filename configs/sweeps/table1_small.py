"""A small version of the paper's Table 1: 10,000 images of CIFAR-10, three sets of labels, every rule in each run.

uv run scripts/sweep.py configs/sweeps/table1_small.py

54 runs of about 5 minutes on 2 CPU cores. Every cell is run once before any is run twice.
"""

import itertools

from sweeps import Run

LABELS = {"clean": "label", "aggre": "aggre_label", "random1": "random_label1"}
AUGMENTATIONS = {"crop_flip": {}, "none": {"augment.pad": 0, "augment.flip": False}}
VALIDATION = (0.0, 0.1, 0.01)
SEEDS = (0, 1, 2)


def get_runs() -> list[Run]:
    """Labels × augmentation × share of validation data × seed."""
    runs = []
    for seed, validation, (augmentation, augment), (labels, key) in itertools.product(
        SEEDS, VALIDATION, AUGMENTATIONS.items(), LABELS.items()
    ):
        cell = {"labels": labels, "augmentation": augmentation, "validation": validation, "seed": seed}
        overrides = {"seed": seed, "dataset.label_key": key, **augment}
        if validation:
            overrides["dataset.val_fraction"] = validation
        config = "configs/table1_small.py:validation" if validation else "configs/table1_small.py"
        runs.append(Run(config, cell, overrides))
    return runs
