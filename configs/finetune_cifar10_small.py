"""Fine-tuning in small: a ViT learns five classes of CIFAR-10, and the other five start from its weights.

uv run src/train.py --config=configs/finetune_cifar10_small.py:pretrain
uv run src/train.py --config=configs/finetune_cifar10_small.py:finetune
"""

from ml_collections import ConfigDict

from configs import cifar10_small
from errors import UserError

# Each half has animals and vehicles.
FIRST_CLASSES = ("airplane", "bird", "deer", "frog", "ship")
OTHER_CLASSES = ("automobile", "cat", "dog", "horse", "truck")


def get_config(variant: str = "finetune") -> ConfigDict:
    """`pretrain`, or `finetune` from the last epoch of it."""
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
        # As the paper fine-tunes, but for the number of updates.
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
