"""Single runs, outside any sweep: what each rule's choice, the last and the best epoch give."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from reports.tables.layout import Table
from training.run.reader import FinishedRun, group_by_seed

TEXT = """Runs whose configs differ in `seed` alone share a row. Test accuracies in %, mean ± standard deviation over \
n seeds; "best on test" is what no rule can know. Wrong labels are in the training set alone. Times are wall-clock on \
a shared machine, pauses included."""

COLUMNS = ("run", "n", "wrong labels", "rule", "its epochs", "there", "last epoch", "best on test (epochs)")

Choice = Mapping[str, Any]


def single(runs: Sequence[FinishedRun]) -> list[Table]:
    """One row per group of runs and rule, and the command of each run."""
    flat = [run for run in runs if run.sweep is None]
    if not flat:
        return []
    rows = tuple(row for group in group_by_seed(flat) for row in rows_of(group))
    return [
        Table("runs", "Single runs", TEXT, COLUMNS, rows, labels=4, after=("Commands:", "", *map(command_of, flat)))
    ]


def rows_of(group: Sequence[FinishedRun]) -> list[tuple[str, ...]]:
    """One row per rule of runs that differ in their seed alone."""
    summaries = [run.summary for run in group]
    wrong = summaries[0]["wrong_label_share"]
    last, best = ([summary[name] for summary in summaries] for name in ("last", "best_on_test"))
    rows: list[tuple[str, ...]] = []
    for rule in summaries[0]["rules"]:
        chosen = [summary["rules"][rule] for summary in summaries]
        row = (
            f"`{group[0].name}`",
            str(len(group)),
            "unknown" if wrong is None else f"{100 * wrong:.1f} %",
            rule,
            _epochs(chosen),
            _accuracy(chosen),
            _accuracy(last),
            f"{_accuracy(best)} ({_epochs(best)})",
        )
        rows.append(row)
    return rows


def command_of(run: FinishedRun) -> str:
    """The command, the time and the hardware of a run, as an entry of a list."""
    words = shlex.split(run.environment["command"])
    command = shlex.join(word for word in words if not word.startswith("--workdir="))
    devices = run.environment["devices"]
    hardware = f"{len(devices)} × {devices[0]}, {run.environment['cpu_count']} cores"
    return f"- `{run.name}`: `uv run {command}` ({run.summary['seconds'] / 60:.1f} min on {hardware})"


def _epochs(choices: Sequence[Choice]) -> str:
    """The chosen epochs, one per seed."""
    return ", ".join("none" if choice["epoch"] is None else str(choice["epoch"]) for choice in choices)


def _accuracy(choices: Sequence[Choice]) -> str:
    """Mean test accuracy and its standard deviation."""
    values = [100 * choice["test_accuracy"] for choice in choices if choice["test_accuracy"] is not None]
    if not values:
        return "not measured"
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{spread}"
