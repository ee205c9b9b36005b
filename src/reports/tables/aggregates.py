"""What the paper's rule loses with other aggregates of the scores in place of GWA: β, no kurtosis, robust means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reports.judging import Mean
from reports.tables.layout import Cell, Line, Table
from reports.tables.regret import condition
from training.run.reader import FinishedRun, read_derived, runs_by_cell

SWEEPS = {"table1_small": "10,000 images of CIFAR-10", "beta": "digits"}

TEXT = """Test accuracy that is lost, against the best epoch of the same run, where the paper's rule maximises another \
aggregate of the scores than GWA, in percentage points: mean ± standard error (number of runs). `uv run \
scripts/ablate.py runs/<sweep>` makes the choices from stored scores, without training."""


def aggregates(runs: Sequence[FinishedRun]) -> list[Table]:
    """Aggregate by condition, for each sweep whose runs have an ablation.json."""
    tables = []
    for sweep, data in SWEEPS.items():
        ablations = [
            (condition(cell), choices)
            for cell, run in runs_by_cell(runs, sweep)
            if (choices := read_derived(run, "ablation.json"))
        ]
        if ablations:
            tables.append(_table(ablations, data))
    return tables


def _table(ablations: Sequence[tuple[str, Mapping[str, Any]]], data: str) -> Table:
    columns = [*dict.fromkeys(name for name, _ in ablations), "overall"]
    names = dict.fromkeys(name for _, choices in ablations for name in choices if name != "oracle")
    rows: list[Line] = [
        (name, *(Cell(Mean.of(_regrets(ablations, name, column))) for column in columns)) for name in names
    ]
    title = f"Aggregates of the scores on {data}"
    return Table("aggregates", title, TEXT, ("aggregate", *columns), tuple(rows), standard_errors=True)


def _regrets(ablations: Sequence[tuple[str, Mapping[str, Any]]], name: str, column: str) -> list[float]:
    parts = [choices for where, choices in ablations if column in (where, "overall")]
    pairs = [(choices[name]["test_accuracy"], choices["oracle"]["test_accuracy"]) for choices in parts]
    return [100 * (best - accuracy) for accuracy, best in pairs if accuracy is not None]
