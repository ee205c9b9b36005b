"""Every rule under many conditions: which labels are wrong, augmentation, network, schedule, size, fine-tuning.

uv run src/train.py --config=configs/regimes.py:convnext_pretrain --workdir=runs/regimes_convnext_pretrain
uv run src/train.py --config=configs/regimes.py:vit_pretrain --workdir=runs/regimes_vit_pretrain
uv run scripts/sweep.py configs/sweeps/regimes.py

80 runs of 1 to 3 minutes on 2 CPU cores, with CIFAR-10-N as tfds.

- 72 train from scratch: six kinds of labels × three augmentations × four seeds. Even seeds train a small ConvNeXt V2,
  odd ones a small ViT; seeds 0 and 3 with the cosine schedule, 1 and 2 with a constant learning rate. One run of every
  label kind has 10,000 images and half the epochs, the others have 2,000 images.
- 8 fine-tune a network that has learned the other five classes of CIFAR-10.

A tenth of the training data is held out, so that rules on validation data choose in the same runs as the others. The
seed also draws the noise, the subset and the held-out part.
"""

import itertools

from sweeps import Run

LABELS = {
    "clean": {},
    "aggre": {"dataset.label_key": "aggre_label"},
    "random1": {"dataset.label_key": "random_label1"},
    "worse": {"dataset.label_key": "worse_label"},
    "symmetric40": {"dataset.label_noise.kind": "symmetric", "dataset.label_noise.rate": 0.4},
    "asymmetric40": {"dataset.label_noise.kind": "asymmetric", "dataset.label_noise.rate": 0.4},
}
CROP_FLIP = {"augment.pad": 4, "augment.flip": True}
AUGMENTATIONS = {
    "none": {},
    "crop_flip": CROP_FLIP,
    "randaugment": {**CROP_FLIP, "augment.randaugment_ops": 1, "augment.randaugment_magnitude": 9.0},
}
NETWORKS = ("convnext", "vit")
FINE_TUNED = ("clean", "symmetric40")


def get_runs() -> list[Run]:
    """Every cell from scratch before any is repeated; fine-tuning in between."""
    runs = []
    for seed in range(4):
        for (augmentation, augment), (i, (labels, label)) in itertools.product(
            AUGMENTATIONS.items(), enumerate(LABELS.items())
        ):
            overrides = {**label, **augment, **_describe_seed(seed)}
            if list(AUGMENTATIONS).index(augmentation) == i % 3 and seed == i % 4:
                overrides |= {"dataset.train_examples": 10_000, "epochs": 15}
            runs.append(Run(f"configs/regimes.py:{NETWORKS[seed % 2]}", _cell(labels, augmentation, seed), overrides))
        for labels, augmentation in zip(FINE_TUNED, ("none", "crop_flip"), strict=True):
            overrides = {**LABELS[labels], **AUGMENTATIONS[augmentation], **_describe_seed(seed)}
            cell = _cell(labels, f"{augmentation}_finetuned", seed)
            runs.append(Run(f"configs/regimes.py:{NETWORKS[seed % 2]}_finetune", cell, overrides))
    return runs


def _describe_seed(seed: int) -> dict[str, object]:
    return {"seed": seed, "dataset.seed": seed} | ({"optimizer.schedule": "constant"} if seed in (1, 2) else {})


def _cell(labels: str, augmentation: str, seed: int) -> dict[str, str | int | float]:
    return {"labels": labels, "augmentation": augmentation, "validation": 0.1, "seed": seed}
