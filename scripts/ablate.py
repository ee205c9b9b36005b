"""Tells which epochs the paper's rule would choose from other aggregates of a run's scores: a Markdown table.

uv run scripts/ablate.py runs/digits [--beta 0.3 0.6 1.2 2.4 5]
"""

import argparse
import pathlib
import sys

import numpy as np

from experiments.aggregates import aggregates, chosen_epoch
from gwa import Last, Oracle
from training.records import Records


def main() -> None:
    """Reads the history and the scores of a finished run and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workdir", type=pathlib.Path)
    parser.add_argument("--beta", type=float, nargs="+", default=[0.3, 0.6, 1.2, 2.4, 5.0], help="offsets of GWA")
    arguments = parser.parse_args()
    workdir = arguments.workdir
    for file in ("summary.json", "scores.npy"):
        if not (workdir / file).exists():
            print(f"ablate.py: {workdir} holds no finished run with its scores: no {file}", file=sys.stderr)
            sys.exit(2)
    history = Records(workdir).history
    scores = np.load(workdir / "scores.npy", mmap_mode="r")
    choices = {name: chosen_epoch(values, history) for name, values in aggregates(scores, arguments.beta).items()}
    choices |= {rule.name: rule.select(history) for rule in (Last(), Oracle())}
    print("| aggregate | epoch | test accuracy |\n|---|---|---|")
    accuracies = {record["epoch"]: record["test_accuracy"] for record in history}
    for name, epoch in choices.items():
        accuracy = accuracies.get(epoch)
        cells = name, str(epoch or "none"), "not measured" if accuracy is None else f"{100 * accuracy:.2f}"
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
