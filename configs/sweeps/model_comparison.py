"""Sixteen networks of eight sizes on 10,000 images of CIFAR-10: does the score rank them as test accuracy does?

uv run scripts/sweep.py configs/sweeps/model_comparison.py

16 runs, from small to large, alternating between the families: about two hours on 2 CPU cores, estimated from single
epochs.
"""

from sweeps import Run

WIDTHS = {  # by the approximate number of parameters: ConvNeXt V2 (the first of three stages), ViT
    "10k": (5, 16),
    "20k": (7, 24),
    "50k": (11, 36),
    "100k": (16, 56),
    "200k": (22, 76),
    "500k": (36, 124),
    "1m": (50, 176),
    "2m": (72, 248),
}


def get_runs() -> list[Run]:
    """Size × family, one seed. Both families use patches of 4×4 pixels, with crops and flips."""
    runs = []
    for size, (convnext, vit) in WIDTHS.items():
        networks = {
            "convnext": {"network.patch_size": 4, "network.widths": (convnext, 2 * convnext, 4 * convnext)},
            "vit": {"network.width": vit, "network.mlp_dim": 2 * vit},
        }
        for family, network in networks.items():
            cell = {"family": family, "size": size, "seed": 0}
            runs.append(
                Run(
                    f"configs/cifar10_small.py:{family}",
                    cell,
                    {"epochs": 20, "seed": 0, "stopping.rules": ("max_gwa",), **network},
                )
            )
    return runs
