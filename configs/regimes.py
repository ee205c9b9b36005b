"""One run of `configs/sweeps/regimes.py`: 2,000 images of CIFAR-10-N with every rule, a tenth held out.

uv run src/train.py --config=configs/regimes.py
uv run src/train.py --config=configs/regimes.py:vit

About a minute on 2 CPU cores that run nothing else. Fine-tuning starts from a network that knows the other classes:

uv run src/train.py --config=configs/regimes.py:convnext_pretrain --workdir=runs/regimes_convnext_pretrain
uv run src/train.py --config=configs/regimes.py:convnext_finetune
"""

from ml_collections import ConfigDict

from configs import fashion_mnist_small
from configs.finetune_cifar10_small import FIRST_CLASSES, OTHER_CLASSES
from errors import UserError
from gwa import RULES

RIVALS = ("LowestBatchGradient", "LowestTopTwoEntropy", "AccuracyPerSusceptibility", "LowestLeaveOneOutLoss")


def get_config(variant: str = "convnext") -> ConfigDict:
    """`convnext` or `vit`, alone or with `_pretrain` or `_finetune`."""
    network, _, phase = variant.partition("_")
    if network not in ("convnext", "vit") or phase not in ("", "pretrain", "finetune"):
        raise UserError(
            f"--config: regimes has convnext and vit, alone or with _pretrain or _finetune, not {variant!r}"
        )
    config = fashion_mnist_small.get_config(network)
    config.epochs = 30
    config.eval_batch_size = 50
    config.dataset.name = "cifar10_n"
    config.record = ("loss", "margin", "error_norm")
    config.stopping.rules = (*RULES, *(f"training.rivals:{name}" for name in RIVALS))
    if phase == "pretrain":
        config.epochs = 20
        config.dataset.classes = FIRST_CLASSES
        config.dataset.train_examples = 10_000
        config.augment.pad = 4
        config.augment.flip = True
        config.record = ()
        config.stopping.rules = ("last",)
    elif phase == "finetune":
        config.pretrained = f"runs/regimes_{network}_pretrain/checkpoints/last/20"
        config.dataset.classes = OTHER_CLASSES
        config.optimizer.learning_rate = 3e-4
    return config
