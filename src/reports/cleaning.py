"""What training again on cleaned labels gains: the table over the runs of `configs/sweeps/clean_labels.py`."""

from __future__ import annotations

from collections.abc import Sequence

from reports.judging import Mean
from reports.layout import Cell, Line, Table
from reports.sweep_runs import find_sweep_runs, name_sweep_file
from training.run.reader import FinishedRun

SWEEPS = {
    "clean_labels": "digits, 40 % of the training labels wrong",
    "clean_labels:cifar10n": "2,000 images of CIFAR-10-N with the labels `worse`, 40 % of them wrong",
}

TEXT = """Runs of `{file}`: {data}, trained on all labels (`noisy`), and again for about as many steps without the \
flagged samples (`drop`) or on their suggested labels (`relabel`). Each score flags as many labels as there are wrong \
ones; `cleanlab` is its self-confidence by five networks that have not seen the sample. Test accuracy after the last \
epoch in %, and the gain over the run on all labels of the same seed in points: mean ± standard error (number of \
seeds)."""


def tabulate_cleaning(runs: Sequence[FinishedRun]) -> list[Table]:
    """For each sweep that has runs, a table with a row per score and treatment."""
    return [table for sweep, data in SWEEPS.items() for table in _tabulate(runs, sweep, data)]


def _tabulate(runs: Sequence[FinishedRun], sweep: str, data: str) -> list[Table]:
    accuracies = {
        (cell["score"], cell["clean"], cell["seed"]): 100 * run.summary["last"]["test_accuracy"]
        for cell, run in find_sweep_runs(runs, sweep)
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
    text = TEXT.format(file=name_sweep_file(sweep), data=data)
    return [Table("cleaning", "Clean and train again", text, columns, tuple(rows), labels=2, standard_errors=True)]
