"""Many runs: listing them in a file, and training them here, on Slurm or by agents of Weights & Biases."""

import repository  # noqa: F401  (it puts our packages first on Python's path)

from sweeps.definition import Run

__all__ = ["Run"]
