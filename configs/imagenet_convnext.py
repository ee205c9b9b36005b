"""The paper's ConvNeXt-Femto on ImageNet-1k, from scratch, as its repository trains it (arXiv 2510.25480).

uv run src/train.py --config=configs/imagenet_convnext.py

For accelerators. Data and epochs are those of configs/imagenet_vit.py, also with held-out validation data. The paper's
accuracies of this network are not known. Not yet reproduced here.

On 8 H100 it takes 4.8 GB on each, as XLA compiles it (uv run --extra cuda scripts/plan.py configs/imagenet_convnext.py
--accelerator=h100 --compile). Estimated, not measured: 0.6 hours of training, if 58,000 images per second can be
decoded.
"""

from ml_collections import ConfigDict

from configs import imagenet_vit


def get_config() -> ConfigDict:
    """The recipe of the ViT with another network: stem patch 4 without bias, kernel 5 instead of 7, tanh GELU."""
    config = imagenet_vit.get_config()
    for field in ("patch_init", "position", "pooling", "head_init"):
        config.network[field] = None
    config.network.name = "convnextv2_femto"
    config.network.patch_size = 4
    config.network.kernel_size = 5
    config.network.stem_bias = False
    return config
