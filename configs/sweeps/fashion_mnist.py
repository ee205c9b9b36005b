"""Every rule on Fashion-MNIST, a data set on which no rule was tuned: 2,000 images, a tenth of them held out.

uv run scripts/sweep.py configs/sweeps/fashion_mnist.py --config.dataset.path=DATA/fashion_mnist.npz

60 runs of about 40 seconds on 2 CPU cores: clean labels, or 20 or 40 % of the labels made wrong; with crops and
flips, or without augmentation; ten seeds. Even seeds train a small ConvNeXt V2, odd ones a small ViT; of each, every
second seed keeps the learning rate constant. The seed also draws the noise, the subset and the held-out part.
"""

import itertools

from sweeps import Run

NOISE = {"clean": 0.0, "symmetric20": 0.2, "symmetric40": 0.4}
AUGMENTATIONS = {"crop_flip": {"augment.pad": 2, "augment.flip": True}, "none": {}}
SEEDS = range(10)


def get_runs() -> list[Run]:
    """Noise × augmentation × seed."""
    runs = []
    for seed, (augmentation, augment), (noise, rate) in itertools.product(SEEDS, AUGMENTATIONS.items(), NOISE.items()):
        cell = {"noise": noise, "augmentation": augmentation, "validation": 0.1, "seed": seed}
        overrides = {"seed": seed, "dataset.seed": seed, **augment}
        if rate:
            overrides |= {"dataset.label_noise.kind": "symmetric", "dataset.label_noise.rate": rate}
        if seed // 2 % 2:
            overrides["optimizer.schedule"] = "constant"
        runs.append(Run(f"configs/fashion_mnist_small.py{':vit' if seed % 2 else ''}", cell, overrides))
    return runs
