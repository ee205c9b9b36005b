"""The paper's fine-tuning of a ViT-B/16 from ImageNet-21k, as its repository does it (arXiv 2510.25480).

uv run src/train.py --config=configs/finetune_vit_b16.py:imagenet
uv run src/train.py --config=configs/finetune_vit_b16.py:inat2018
uv run src/train.py --config=configs/finetune_vit_b16.py:places365

For accelerators. The run starts from ViT-B_16.npz in the working directory, or from the file that --config.pretrained
names. Download one of Google's weights yourself: https://storage.googleapis.com/vit_models/imagenet21k/ViT-B_16.npz
(Dosovitskiy et al.), or from https://storage.googleapis.com/vit_models/augreg (Steiner et al.) the file
B_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.0-sd_0.0.npz. It is not known which of them the paper used.

The paper has 26,000 steps. As its repository counts, these hold 10 whole epochs of ImageNet (25,030 steps here), 30 of
iNaturalist (25,650) and 7 of Places365 (24,661); the cosine would end after 26,001 steps. Held-out validation data
makes an epoch shorter: with --config.dataset.val_fraction=0.1 set --config.epochs to 11, 33 and 8; with 0.01 set it to
10, 30 and 7. For other numbers of epochs set --config.optimizer.cosine_steps=0: the cosine then ends with the run.

ImageNet is fine-tuned without RandAugment and mixup, the other two sets with RandAugment(2, 2) and mixup 0.1. So say
the repository's files for these two sets; its list of recipes has neither for any fine-tuning.

On 8 H100 it takes 13.4 GB on each, as XLA compiles it (uv run --extra cuda scripts/plan.py
configs/finetune_vit_b16.py:imagenet --accelerator=h100 --compile). Estimated, not measured: 0.3 hours of training,
if 11,000 images per second can be decoded.

Published for GWA: ImageNet 84.15 % (V2 74.32 %, ReaL 89.05 %), iNaturalist 2018 73.73 %, Places365 58.78 %, on the
validation sets (n = 3). Not yet reproduced here.
"""

from ml_collections import ConfigDict

from configs import base
from errors import UserError

DATA = {"imagenet": ("imagenet2012", 10), "inat2018": ("i_naturalist2018", 30), "places365": ("places365_small", 7)}
"""By variant: the name in tfds, and the epochs."""


def get_config(variant: str = "imagenet") -> ConfigDict:
    """`imagenet`, `inat2018` or `places365`: SGD with momentum, cosine after a warm-up, learned positions, token."""
    if variant not in DATA:
        raise UserError(f"--config: finetune_vit_b16 has the variants {', '.join(DATA)}, not {variant!r}")
    config = base.get_config()
    config.dataset.name, config.epochs = DATA[variant]
    config.pretrained = "ViT-B_16.npz"
    config.batch_size = 512
    config.eval_batch_size = 512
    config.steps_per_dispatch = 1
    config.checkpoint_steps = 500
    config.dataset.feed = "stream"
    config.dataset.image_size = 224
    config.dataset.test_split = "validation"
    config.augment.crop_like_tensorflow = True
    config.augment.flip = True
    if variant != "imagenet":
        config.augment.randaugment_ops = 2
        config.augment.randaugment_magnitude = 2.0
        config.augment.mixup = 0.1
    config.network.name = "vit_b16"
    config.network.position = "learned"
    config.network.pooling = "token"
    config.network.head_init = "zeros"
    config.network.activation = "gelu_tanh"
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 1e-2
    config.optimizer.cosine_steps = 26_001
    config.optimizer.warmup_steps = 500
    config.optimizer.clip_norm = 1.0
    config.stopping.rules = ("min_then_max_gwa", "max_gwa", "label_wave", "lowest_train_loss", "last", "oracle")
    return config
