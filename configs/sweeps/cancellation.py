"""Does the rounding of softmax − target matter? Digits, trained until every label is fitted, in two compute dtypes.

uv run scripts/sweep.py configs/sweeps/cancellation.py

12 runs of about 1 minute on 2 CPU cores. Each records the scores of `gwa.head_alignment` and, as the estimator
`textbook`, those of the formula as it stands.
"""

import itertools

from experiments.sweeps import Run

LABELS = {"clean": {"dataset.label_noise.kind": "none", "dataset.label_noise.rate": 0.0}, "symmetric20": {}}


def get_runs() -> list[Run]:
    """Labels × compute dtype × seed."""
    return [
        Run(
            "configs/digits.py",
            {"labels": labels, "compute_dtype": dtype, "seed": seed},
            {
                "epochs": 120,
                "seed": seed,
                "network.compute_dtype": dtype,
                "estimators": ("textbook",),
                **noise,
            },
        )
        for seed, dtype, (labels, noise) in itertools.product((0, 1, 2), ("float32", "bfloat16"), LABELS.items())
    ]
