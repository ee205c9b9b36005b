"""What training again on cleaned labels gains: the table over the runs of `configs/sweeps/clean_labels.py`."""

from __future__ import annotations

from collections.abc import Sequence

from reports.judging import Mean
from reports.layout import Cell, Line, Table
from reports.sweep_runs import find_sweep_runs
from training.run.reader import FinishedRun

SWEEP = "clean_labels"

TEXT = f"""Runs of `configs/sweeps/{SWEEP}.py`: digits, 40 % of the training labels wrong, trained on all labels \
(`noisy`), and again for about as many steps without the flagged samples (`drop`) or on their suggested labels \
(`relabel`). Each score flags as many labels as there are wrong ones. Test accuracy after the last epoch in %, and the \
gain over the run on all labels of the same seed in points: mean ± standard error (number of seeds)."""


def tabulate_cleaning(runs: Sequence[FinishedRun]) -> list[Table]:
    """A row per score and treatment; nothing without runs."""
    accuracies = {
        (cell["score"], cell["clean"], cell["seed"]): 100 * run.summary["last"]["test_accuracy"]
        for cell, run in find_sweep_runs(runs, SWEEP)
    }
    rows: list[Line] = []
    for score, clean in dict.fromkeys(key[:2] for key in accuracies):
        seeds = [seed for name, treatment, seed in accuracies if (name, treatment) == (score, clean)]
        found = {seed: accuracies[score, clean, seed] for seed in seeds}
        gains = [
            found[seed] - accuracies["noisy", "kept", seed] for seed in seeds if ("noisy", "kept", seed) in accuracies
        ]
        rows.append((str(score), str(clean), Cell(Mean.of(found.values())), Cell(Mean.of(gains))))
    if not rows:
        return []
    columns = ("score", "flagged samples", "test accuracy", "gain")
    return [Table("cleaning", "Clean and train again", TEXT, columns, tuple(rows), labels=2, standard_errors=True)]
