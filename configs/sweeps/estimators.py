"""How far online alignments are from those at fixed parameters: digits, SGD at three constant learning rates.

uv run scripts/sweep.py configs/sweeps/estimators.py

9 runs of well under a minute on 2 CPU cores. The digits are not augmented and the network has no dropout, so the
estimator `offline` after an epoch measures the parameters with which the next epoch begins. The network is half as deep
as that of configs/digits.py, and its patches are 2 pixels wide: on single pixels, SGD with momentum 0.9 stayed at
chance (30 epochs at learning rate 0.1, 17 at 0.01), where Adam learns.
"""

import itertools

from sweeps import Run

LEARNING_RATES = (0.1, 0.01, 0.001)
SEEDS = (0, 1, 2)


def get_runs() -> list[Run]:
    """Learning rate × seed, without momentum, which would multiply the largest learning rate by ten."""
    return [
        Run(
            "configs/digits.py",
            {"optimizer": "sgd", "learning_rate": learning_rate, "seed": seed},
            {
                "seed": seed,
                "stopping.rules": ("max_gwa",),
                "network.patch_size": 2,
                "network.depths": (1, 1),
                "optimizer.name": "sgd",
                "optimizer.momentum": 0.0,
                "optimizer.learning_rate": learning_rate,
                "optimizer.schedule": "constant",
                "estimators": ("offline", "textbook"),
            },
        )
        for seed, learning_rate in itertools.product(SEEDS, LEARNING_RATES)
    ]
