"""The paper's ViT on CIFAR-10, from scratch, as its repository trains it (arXiv 2510.25480).

uv run src/train.py --config=configs/cifar10_vit.py

For an accelerator: an H200 takes 2.3 s per epoch. 179 epochs of 196 steps are 35,084 steps, where the paper has 35,000;
the cosine ends there, as in the paper. Held-out validation data makes an epoch shorter: with
--config.dataset.val_fraction=0.1 set --config.epochs=200, with 0.01 set --config.epochs=181. For other numbers of
epochs set --config.optimizer.cosine_steps=0: the cosine then ends with the run. For the label noise of the paper's
Table 1, add --config.dataset.name=cifar10_n and --config.dataset.label_key=aggre_label (9 %) or random_label1 (17 %).
The held-out labels are clean even then, as in the paper: rules that use validation data read clean labels, unless you
set --config.dataset.val_labels=observed.

Published for GWA: test accuracy 81.57 % clean, 78.93 % at 9 %, 75.70 % at 17 % (n = 3). Here: 74.46 % at 17 %
(n = 1, JPEG copies of the images; docs/results.md).
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """Adam without weight decay, cosine, RandAugment(2, 1): patch 4, width 512, depth 6, mean pooling, zero head."""
    config = base.get_config()
    config.epochs = 179
    config.batch_size = 256
    config.dataset.name = "cifar10"
    config.dataset.val_labels = "clean"
    config.augment.upscale = 36
    config.augment.flip = True
    config.augment.randaugment_ops = 2
    config.augment.randaugment_magnitude = 1.0
    config.network.name = "vit"
    config.network.patch_size = 4
    config.network.patch_init = "lecun_normal"
    config.network.width = 512
    config.network.depth = 6
    config.network.mlp_dim = 512
    config.network.num_heads = 8
    config.network.position = "sincos2d"
    config.network.pooling = "mean"
    config.network.head_init = "zeros"
    config.network.activation = "gelu_tanh"
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-4
    config.optimizer.cosine_steps = 35_001
    return config
