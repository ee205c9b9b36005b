"""Does the rounding of softmax − target matter? Digits, trained until every label is fitted, in two compute dtypes.

uv run scripts/sweep.py configs/sweeps/cancellation.py

18 runs of 1 to 2 minutes on 2 CPU cores. Each records the alignments of `gwa.head_alignment` and, as the estimator
`textbook`, those of the formula as it is written. Results: docs/cancellation.md.
"""

import itertools

from sweeps import Run

CLEAN = {"dataset.label_noise.kind": "none", "dataset.label_noise.rate": 0.0}
CONDITIONS = {
    "clean": CLEAN,
    "symmetric20": {},
    "clean_constant": CLEAN | {"optimizer.schedule": "constant"},  # margins continue to grow
}


def get_runs() -> list[Run]:
    """Labels and schedule × compute dtype × seed."""
    return [
        Run(
            "configs/digits.py",
            {"condition": condition, "compute_dtype": dtype, "seed": seed},
            {"epochs": 120, "seed": seed, "network.compute_dtype": dtype, "estimators": ("textbook",)}
            | {"stopping.rules": ("max_gwa",), **fields},
        )
        for seed, dtype, (condition, fields) in itertools.product(
            (0, 1, 2), ("float32", "bfloat16"), CONDITIONS.items()
        )
    ]
