"""Measures how far a run's online scores lie from those at fixed parameters, and writes it into WORKDIR/bias.json.

uv run scripts/estimator_bias.py runs/estimators

The runs are those of configs/sweeps/estimators.py; `scripts/tables.py --table=estimators` makes a table of them.
"""

import pathlib

import repository  # noqa: F401  (it puts our packages first on Python's path)

import command_line
from reports.estimator_bias import measure_bias
from training.run.reader import read_run_or_runs


def main() -> None:
    """Prints a line per run."""
    parser = command_line.Parser(__doc__)
    parser.add_argument("folder", type=pathlib.Path, help="a work directory, or a folder of them")
    for run in read_run_or_runs(parser.parse_args().folder):
        start = measure_bias(run)["start"]
        print(f"{run.name}: |online − start of the epoch| is {start['mean_of_samples']:.4f} per sample")


if __name__ == "__main__":
    command_line.run(main)
