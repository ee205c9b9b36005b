"""How much the kurtosis and β of GWA matter: digits with more and more wrong labels (the paper's Fig. 9).

uv run scripts/sweep.py configs/sweeps/beta.py
uv run scripts/ablate.py runs/beta

9 runs of about 40 seconds on 2 CPU cores.
"""

import itertools

from sweeps import Run

RATES = (0.0, 0.2, 0.4)


def get_runs() -> list[Run]:
    """Share of wrong labels × seed."""
    return [
        Run(
            "configs/digits.py",
            {"noise": rate, "seed": seed},
            {
                "seed": seed,
                "stopping.rules": ("max_gwa",),
                "dataset.label_noise.kind": "symmetric",
                "dataset.label_noise.rate": rate,
            },
        )
        for seed, rate in itertools.product((0, 1, 2), RATES)
    ]
