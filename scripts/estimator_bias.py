"""Measures how far a run's online scores lie from those at fixed parameters, into its bias.json.

uv run scripts/estimator_bias.py runs/estimators

The runs are those of configs/sweeps/estimators.py; `scripts/tables.py --table=estimators` makes a table of them.
"""

import argparse
import pathlib
import sys

import repository  # noqa: F401  (it puts our packages first on Python's path)

from errors import UserError
from reports.bias import of_run
from training.run.reader import find_runs_in


def main() -> None:
    """Prints a line per run; a mistake of the user's is one line and exit code 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, help="a work directory, or a folder of them")
    folder = parser.parse_args().folder
    try:
        for run in find_runs_in(folder):
            start = of_run(run)["start"]
            print(f"{run.name}: |online − start of the epoch| is {start['mean_of_samples']:.4f} per sample")
    except UserError as error:
        print(f"estimator_bias.py: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
