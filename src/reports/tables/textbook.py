"""Does cancellation matter? GWA from `head_alignment` against GWA from the textbook residual over whole runs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gwa import MaxGWA
from reports.judging import Mean
from reports.tables.layout import Cell, Line, Table
from reports.tables.regret import condition
from training.run.reader import FinishedRun, runs_by_cell

SWEEPS = {"cancellation": "digits", "table1_small": "10,000 images of CIFAR-10"}
NAME = "textbook"

TEXT = """Runs that record both: the share of the training set that is fitted at the end; the largest difference of \
the two in GWA in any epoch, as a share of the largest GWA of the run; by how many epochs the choices of the paper's \
rule differ; and what test accuracy the choice by the textbook form loses against the other, in percentage points. \
Mean ± standard deviation (number of runs)."""

COLUMNS = ("data", "condition", "fitted, %", "largest difference of GWA, %", "choices apart, epochs", "accuracy lost")


def textbook(runs: Sequence[FinishedRun]) -> list[Table]:
    """One row per condition of the sweeps whose runs record the textbook estimator."""
    lines: list[Line] = []
    for sweep, data in SWEEPS.items():
        by_condition: dict[str, list[FinishedRun]] = {}
        for cell, run in runs_by_cell(runs, sweep):
            if all(NAME in record.get("estimates", {}) for record in run.history):
                by_condition.setdefault(condition(cell), []).append(run)
        lines += [(data, name, *_cells(part)) for name, part in by_condition.items()]
    title = "Online scores against the textbook residual"
    return [Table("textbook", title, TEXT, COLUMNS, tuple(lines), labels=2)] if lines else []


def textbook_gwa(run: FinishedRun) -> list[float]:
    """GWA of the textbook form by epoch, NaN where it is not defined."""
    values = (record["estimates"][NAME]["gwa"] for record in run.history)
    return [math.nan if value is None else value for value in values]


def choices(run: FinishedRun) -> tuple[int | None, int | None]:
    """The epochs that the paper's rule chooses by the online scores and by the textbook form."""
    other = [{**record, "gwa": value} for record, value in zip(run.history, textbook_gwa(run), strict=True)]
    return MaxGWA().select(run.history), MaxGWA().select(other)


def _cells(runs: Sequence[FinishedRun]) -> tuple[Cell, ...]:
    pairs = [(run, *choices(run)) for run in runs]
    both = [(run, online, other) for run, online, other in pairs if online is not None and other is not None]
    accuracies = {run.name: run.values("test_accuracy") for run in runs}
    columns = (
        [100 * run.values("train_accuracy")[-1] for run in runs],
        [100 * _largest_difference(run) for run in runs],
        [abs(online - other) for _, online, other in both],
        [100 * (accuracies[run.name][online - 1] - accuracies[run.name][other - 1]) for run, online, other in both],
    )
    return tuple(Cell(Mean.of(values)) for values in columns)


def _largest_difference(run: FinishedRun) -> float:
    online, other = run.values("gwa"), textbook_gwa(run)
    differences = [abs(a - b) for a, b in zip(online, other, strict=True) if not math.isnan(a - b)]
    return max(differences) / max(value for value in online if not math.isnan(value))
