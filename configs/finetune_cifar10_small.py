"""Small fine-tuning: a ViT is trained on five classes of CIFAR-10, then fine-tuned on the other five.

uv run src/train.py --config=configs/finetune_cifar10_small.py:pretrain
uv run src/train.py --config=configs/finetune_cifar10_small.py:finetune

7 minutes, then 3 to 6 minutes, on 2 CPU cores. Results: docs/finetune.md.
"""

from ml_collections import ConfigDict

from configs import cifar10_small
from errors import UserError

# Each half has animals and vehicles.
FIRST_CLASSES = ("airplane", "bird", "deer", "frog", "ship")
OTHER_CLASSES = ("automobile", "cat", "dog", "horse", "truck")


def get_config(variant: str = "finetune") -> ConfigDict:
    """`pretrain`, or `finetune` from its last epoch."""
    config = cifar10_small.get_config("vit")
    config.network.width = 96
    config.network.mlp_dim = 192
    config.network.num_heads = 3
    if variant == "pretrain":
        config.epochs = 20
        config.dataset.classes = FIRST_CLASSES
        config.dataset.train_examples = 15_000
        config.stopping.rules = ("last",)
    elif variant == "finetune":
        config.pretrained = "runs/finetune_cifar10_small_pretrain/checkpoints/last/20"
        config.epochs = 30
        config.dataset.classes = OTHER_CLASSES
        config.dataset.train_examples = 5_000
        # As the paper fine-tunes, except for the number of updates.
        config.optimizer.name = "sgd"
        config.optimizer.learning_rate = 1e-2
        config.optimizer.clip_norm = 1.0
        config.optimizer.warmup_steps = 50
        config.stopping.rules = (
            "min_then_max_gwa",
            "max_gwa",
            "last",
            "label_wave",
            "churn_per_misfit",
            "lowest_train_loss",
            "oracle",
        )
    else:
        raise UserError(f"--config: finetune_cifar10_small has the variants pretrain and finetune, not {variant!r}")
    return config
