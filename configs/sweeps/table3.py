"""Table 3 of the paper: a ViT-B/16, pre-trained on ImageNet-21k and fine-tuned on three sets.

uv run scripts/sweep.py configs/sweeps/table3.py --config.pretrained=ViT-B_16.npz --config.evaluate_path=DATA

9 runs. They need accelerators; how long they take there has not been measured. Those on ImageNet are evaluated on V2
and ReaL in DATA too. configs/finetune_vit_b16.py says where to get the weights.
"""

import itertools

from configs.finetune_vit_b16 import DATA
from sweeps import Run

SEEDS = (0, 1, 2)


def get_runs() -> list[Run]:
    """Data × seed."""
    return [
        Run(
            f"configs/finetune_vit_b16.py:{data}",
            {"data": data, "seed": seed},
            {"seed": seed, "evaluate": ("imagenet_v2", "imagenet_real") if data == "imagenet" else ()},
        )
        for seed, data in itertools.product(SEEDS, DATA)
    ]
