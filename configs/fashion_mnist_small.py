"""2,000 images of Fashion-MNIST with every rule, a tenth held out: one run of `configs/sweeps/fashion_mnist.py`.

uv run src/train.py --config=configs/fashion_mnist_small.py --config.dataset.path=DATA/fashion_mnist.npz

`scripts/prepare/fashion_mnist.py` makes the file. About 40 seconds on 2 CPU cores.
"""

from ml_collections import ConfigDict

from configs import base
from errors import UserError
from gwa import RULES


def get_config(variant: str = "convnext") -> ConfigDict:
    """`convnext` or `vit`."""
    config = base.get_config()
    config.epochs = 40
    config.batch_size = 100
    config.eval_batch_size = 200
    config.dataset.name = "arrays"
    config.dataset.train_examples = 2000
    config.dataset.val_fraction = 0.1
    config.network.patch_size = 4
    if variant == "convnext":
        config.network.update({"name": "convnextv2", "kernel_size": 3, "depths": (2, 2), "widths": (32, 64)})
    elif variant == "vit":
        config.network.update({"name": "vit", "width": 64, "depth": 3, "mlp_dim": 128, "num_heads": 4})
        config.network.update({"position": "sincos2d", "pooling": "mean"})
    else:
        raise UserError(f"--config: fashion_mnist_small has the variants convnext and vit, not {variant!r}")
    config.optimizer.ema = 1.0
    config.stopping.rules = tuple(RULES)
    return config
