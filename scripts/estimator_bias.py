"""Prints the bias of the online estimator by learning rate, beside the paper's figures, as a Markdown table.

uv run scripts/estimator_bias.py runs/estimators [--output results/estimators/bias.json]
uv run scripts/estimator_bias.py results/estimators/bias.json

The runs are those of configs/sweeps/estimators.py; the second form needs no scores.
"""

import argparse
import json
import pathlib
import sys

from errors import UserError
from experiments.bias import of_runs, table
from training.records import write_text


def main() -> None:
    """Reads the runs, or what an earlier call has written, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=pathlib.Path, help="a folder of runs, or a file that --output has written")
    parser.add_argument("--output", type=pathlib.Path, help="a JSON file for the figures of every run")
    arguments = parser.parse_args()
    try:
        runs = json.loads(arguments.source.read_text()) if arguments.source.is_file() else of_runs(arguments.source)
    except UserError as error:
        print(f"estimator_bias.py: {error}", file=sys.stderr)
        sys.exit(2)
    if arguments.output:
        lines = ",\n".join(f"  {json.dumps(run)}" for run in runs)
        write_text(arguments.output, f"[\n{lines}\n]\n")
    print("\n".join(table(runs)))


if __name__ == "__main__":
    main()
