"""What the moving average of the parameters gains over the parameters themselves, at the epoch that a rule chose."""

from __future__ import annotations

from collections.abc import Sequence

from reports.judging import Mean
from reports.layout import Cell, Line, Table
from reports.regret import SWEEPS
from reports.sweep_runs import find_sweep_runs, name_condition
from training.run.reader import FinishedRun

TEXT = """Test accuracy of the moving average of the parameters (`optimizer.ema`) minus that of the parameters, both \
after the epoch that a rule chose, in percentage points: mean ± standard error of the paired differences (number of \
runs)."""


def tabulate_averages(runs: Sequence[FinishedRun]) -> list[Table]:
    """Rule by condition, for each sweep with runs that kept an average."""
    tables = []
    for sweep, data in SWEEPS.items():
        by_condition: dict[str, list[FinishedRun]] = {}
        for cell, run in find_sweep_runs(runs, sweep):
            if run.summary["last"].get("ema_test_accuracy") is not None:
                by_condition.setdefault(name_condition(cell), []).append(run)
        if by_condition:
            columns = {**by_condition, "overall": [run for part in by_condition.values() for run in part]}
            rules = dict.fromkeys(rule for run in columns["overall"] for rule in run.summary["rules"])
            rows: list[Line] = [
                (f"`{rule}`", *(Cell(Mean.of(_list_gains(part, rule))) for part in columns.values())) for rule in rules
            ]
            title = f"Averaged parameters on {data}"
            tables.append(Table("averages", title, TEXT, ("rule", *columns), tuple(rows), standard_errors=True))
    return tables


def _list_gains(runs: Sequence[FinishedRun], rule: str) -> list[float]:
    choices = [choice for run in runs if (choice := run.summary["rules"].get(rule)) and choice["epoch"] is not None]
    return [100 * (choice["ema_test_accuracy"] - choice["test_accuracy"]) for choice in choices]
