"""Tells which epoch the paper's rule would choose from other aggregates of the scores, and what the choice loses.

uv run scripts/ablate.py runs/digits [--beta 0.3 0.6 1.2 2.4 5]      one run
uv run scripts/ablate.py runs/table1_small                           every finished run in a folder

The choices go to WORKDIR/ablation.json too; `scripts/tables.py --table=aggregates` makes tables of them.
"""

import argparse
import pathlib
import sys
from typing import Any

import numpy as np

import repository  # noqa: F401  (it puts our packages first on Python's path)

from errors import UserError
from gwa import Last, Oracle
from reports.aggregates import aggregates, chosen_epoch
from reports.judging import Mean
from training.run.reader import FinishedRun, find_runs_in
from training.run.records import write_json

Choices = dict[str, dict[str, Any]]


def main() -> None:
    """Prints a Markdown table over all runs; a mistake of the user's is one line and exit code 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, help="a work directory, or a folder of them")
    parser.add_argument("--beta", type=float, nargs="+", default=[0.3, 0.6, 1.2, 2.4, 5.0], help="offsets of GWA")
    arguments = parser.parse_args()
    try:
        choices = {run.name: ablate(run, arguments.beta) for run in find_runs_in(arguments.folder)}
    except UserError as error:
        print(f"ablate.py: {error}", file=sys.stderr)
        sys.exit(2)
    print("\n".join(table(list(choices.values()))))


def ablate(run: FinishedRun, betas: list[float]) -> Choices:
    """Epoch and test accuracy that each aggregate chooses in a run; written to its ablation.json.

    Raises:
      UserError: when the run is without its scores.
    """
    if not (run.workdir / "scores.npy").exists():
        raise UserError(f"{run.workdir} is without its scores: no scores.npy")
    scores = np.load(run.workdir / "scores.npy", mmap_mode="r")
    epochs = {name: chosen_epoch(values, run.history) for name, values in aggregates(scores, betas).items()}
    epochs |= {rule.name: rule.select(run.history) for rule in (Last(), Oracle())}
    choices = {
        name: {"epoch": epoch, "test_accuracy": run.history[epoch - 1]["test_accuracy"] if epoch else None}
        for name, epoch in epochs.items()
    }
    write_json(run.workdir / "ablation.json", choices)
    return choices


def table(runs: list[Choices]) -> list[str]:
    """One row per aggregate: its epochs, and the mean test accuracy there."""
    rows = ["| aggregate | epochs | test accuracy |", "|---|---|---|"]
    for name in runs[0]:
        chosen = [choices[name] for choices in runs]
        mean = Mean.of(100 * choice["test_accuracy"] for choice in chosen if choice["test_accuracy"] is not None)
        spread = f" ± {mean.deviation:.2f}" if mean and mean.deviation is not None else ""
        accuracy = f"{mean.mean:.2f}{spread} ({mean.n})" if mean else "not measured"
        rows.append(f"| {name} | {', '.join(str(choice['epoch'] or 'none') for choice in chosen)} | {accuracy} |")
    return rows


if __name__ == "__main__":
    main()
