"""Does cancellation matter? GWA from `head_alignment` against GWA from the textbook residual, table and figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from reports.judging import Mean, choose_epoch
from reports.layout import Cell, Line, Table
from reports.sweep_runs import find_sweep_runs, name_condition
from training.run.reader import FinishedRun

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SWEEPS = {"cancellation": "digits", "table1_small": "10,000 images of CIFAR-10"}
ESTIMATOR = "textbook"

TEXT = """Runs that record both: the share of the training set that is fitted at the end; the largest difference of \
the two in GWA in any epoch, as a share of the largest GWA of the run; by how many epochs the choices of the paper's \
rule differ; and what test accuracy the choice by the textbook form loses against the other, in percentage points. \
Mean ± standard deviation (number of runs)."""

COLUMNS = ("data", "condition", "fitted, %", "largest difference of GWA, %", "choices apart, epochs", "accuracy lost")


def tabulate_textbook(runs: Sequence[FinishedRun]) -> list[Table]:
    """One row per condition of the sweeps whose runs record the textbook estimator."""
    lines: list[Line] = []
    for sweep, data in SWEEPS.items():
        by_condition: dict[str, list[FinishedRun]] = {}
        for cell, run in find_sweep_runs(runs, sweep):
            if all(ESTIMATOR in record.get("estimates", {}) for record in run.history):
                by_condition.setdefault(name_condition(cell), []).append(run)
        lines += [(data, condition, *_compare(part)) for condition, part in by_condition.items()]
    title = "Online scores against the textbook residual"
    return [Table("textbook", title, TEXT, COLUMNS, tuple(lines), labels=2)] if lines else []


def read_textbook_gwa(run: FinishedRun) -> list[float]:
    """GWA of the textbook form by epoch, NaN where it is not defined."""
    values = (record["estimates"][ESTIMATOR]["gwa"] for record in run.history)
    return [math.nan if value is None else value for value in values]


def choose_epochs(run: FinishedRun) -> tuple[int | None, int | None]:
    """The epochs that the paper's rule chooses by the online scores and by the textbook form."""
    return choose_epoch(run.history, run.values("gwa")), choose_epoch(run.history, read_textbook_gwa(run))


def _compare(runs: Sequence[FinishedRun]) -> list[Cell]:
    pairs = [(run.values("test_accuracy"), *choose_epochs(run)) for run in runs]
    both = [(accuracies, online, other) for accuracies, online, other in pairs if online and other]
    columns = (
        [100 * run.values("train_accuracy")[-1] for run in runs],
        [100 * _find_largest_difference(run) for run in runs],
        [abs(online - other) for _, online, other in both],
        [100 * (accuracies[online - 1] - accuracies[other - 1]) for accuracies, online, other in both],
    )
    return [Cell(Mean.of(values)) for values in columns]


def _find_largest_difference(run: FinishedRun) -> float:
    online, other = run.values("gwa"), read_textbook_gwa(run)
    differences = [abs(a - b) for a, b in zip(online, other, strict=True) if not math.isnan(a - b)]
    return max(differences) / max(value for value in online if not math.isnan(value))


def draw_textbook(runs: Sequence[FinishedRun]) -> Figure | None:
    """A panel for each condition and compute dtype of the sweep `cancellation`, its first seed; None without runs."""
    from reports import style

    found = [(cell, run) for cell, run in find_sweep_runs(runs, "cancellation") if cell["seed"] == 0]
    if not found:
        return None
    figure, axes = style.make_panels(len(found), columns=2, width=4.6, height=3.2)
    for panel, (cell, run) in zip(axes, found, strict=True):
        style.draw_test_accuracy(panel, run)
        online, textbook = choose_epochs(run)
        curves = (("online", run.values("gwa"), online), ("textbook", read_textbook_gwa(run), textbook))
        for i, ((name, values, chosen), line) in enumerate(zip(curves, style.LINES, strict=False)):
            panel.plot(style.number_epochs(run), values, color=line[0], linestyle=line[1])
            style.mark(panel, chosen, values, line, f"{name}, chosen", hollow=i > 0)
        panel.set(xlabel="epoch", ylabel="GWA", title=f"{cell['condition']}, {cell['compute_dtype']}")
        style.put_legend_below(panel)
    return figure
