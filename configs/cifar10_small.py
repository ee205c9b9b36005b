"""10,000 images of CIFAR-10, small enough for two CPU cores: a small ConvNeXt V2 or, with `:vit`, a small ViT.

uv run src/train.py --config=configs/cifar10_small.py
uv run src/train.py --config=configs/cifar10_small.py:vit

9 to 16 minutes on 2 CPU cores. Results: docs/results.md.
"""

from ml_collections import ConfigDict

from configs import base
from errors import UserError


def get_config(variant: str = "convnext") -> ConfigDict:
    """`convnext` or `vit`."""
    config = base.get_config()
    # The first one chooses. These labels are clean, and on wrong ones dissent is better: docs/choose.md
    config.stopping.rules = ("max_gwa", "dissent", "last")
    config.epochs = 30
    config.batch_size = 128
    config.dataset.name = "cifar10"
    config.dataset.train_examples = 10_000
    config.augment.pad = 4
    config.augment.flip = True
    config.optimizer.learning_rate = 1e-3
    if variant == "convnext":
        config.network.name = "convnextv2"
        config.network.patch_size = 2
        config.network.kernel_size = 3
        config.network.depths = (2, 2, 2)
        config.network.widths = (32, 64, 128)
    elif variant == "vit":
        config.network.name = "vit"
        config.network.patch_size = 4
        config.network.width = 128
        config.network.depth = 4
        config.network.mlp_dim = 256
        config.network.num_heads = 4
        config.network.position = "sincos2d"
        config.network.pooling = "mean"
        config.network.head_init = "zeros"
        config.optimizer.warmup_steps = 200
    else:
        raise UserError(f"--config: cifar10_small has the variants convnext and vit, not {variant!r}")
    return config
