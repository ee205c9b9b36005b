"""How far the online scores lie from those at fixed parameters: the digits by SGD at three constant learning rates.

uv run scripts/sweep.py configs/sweeps/estimators.py

9 runs of about a minute on 2 CPU cores. The digits are not augmented and the network has no dropout, so the estimator
`offline` after one epoch is the score at the parameters with which the next one begins.
"""

import itertools

from experiments.sweeps import Run

LEARNING_RATES = (0.1, 0.01, 0.001)
SEEDS = (0, 1, 2)


def get_runs() -> list[Run]:
    """Learning rate × seed, without momentum: with 0.9 the largest learning rate destroys the network at once."""
    return [
        Run(
            "configs/digits.py",
            {"optimizer": "sgd", "learning_rate": learning_rate, "seed": seed},
            {
                "seed": seed,
                "optimizer.name": "sgd",
                "optimizer.momentum": 0.0,
                "optimizer.learning_rate": learning_rate,
                "optimizer.schedule": "constant",
                "estimators": ("offline", "textbook"),
            },
        )
        for seed, learning_rate in itertools.product(SEEDS, LEARNING_RATES)
    ]
