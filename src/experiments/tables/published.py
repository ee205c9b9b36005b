"""The paper's Tables 1 to 3, each cell with ours beside it, or with the command that would make it."""

from __future__ import annotations

from collections.abc import Sequence

from experiments import paper
from experiments.judging import Mean
from experiments.reading import FinishedRun, corrupted_accuracy
from experiments.tables.layout import Cell, Line, Table
from experiments.tables.selections import LABELS, Row, SweepRuns, rows

NETWORKS = {"vit": "ViT", "convnext": "ConvNeXt"}
NOT_RUNNABLE = "not runnable yet: there is no config for this data"

HOW = """Test accuracy in %: mean ± standard deviation (number of seeds) [the paper's value, ours minus it]. The \
paper's values are second-hand."""

SELECTED = (Row("best_validation", 0.1), Row("best_validation", 0.01), Row("max_gwa", 0.0))
"""The rows of the paper's Table 2."""


def table1(runs: Sequence[FinishedRun]) -> list[Table]:
    """Selection rules by network and data; rules that the paper does not have are shown once they have runs."""
    sweep = SweepRuns(runs, "table1")
    lines: list[Line] = []
    for network, name in NETWORKS.items():
        for row in rows():
            cells = [_table1_cell(sweep, network, row, column) for column in paper.TABLE_1_COLUMNS]
            if any(cell.ours or cell.paper for cell in cells):
                lines.append((name, row.label, *cells))
    columns = ("network", "stopping by", *paper.TABLE_1_COLUMNS.values())
    title = "Table 1: test accuracy of what each rule chose"
    return [Table("table1", title, HOW, columns, tuple(lines), labels=2)]


def _table1_cell(sweep: SweepRuns, network: str, row: Row, column: str) -> Cell:
    published = paper.TABLE_1.get((network, *row, column))
    if column not in LABELS:
        return Cell(paper=published, note=NOT_RUNNABLE)
    cell = {"network": network, "labels": column, "validation": row.validation}
    if not sweep.where(**cell):
        return Cell(paper=published, note=f"not run: {sweep.command(*cell.values())}")
    ours, note = sweep.accuracy(row.rule, **cell)
    return Cell(ours, published, note)


def table2(runs: Sequence[FinishedRun]) -> list[Table]:
    """Accuracy on corrupted images by group, its mean over severities beside the paper's; then by severity."""
    sweep = SweepRuns(runs, "table2")
    lines: list[Line] = []
    for data, name in {"cifar10_c": "CIFAR-10-C", "imagenet_c": "ImageNet-C"}.items():
        for row in SELECTED:
            cells = (_table2_cell(sweep, row, group, "mean", data) for group in paper.GROUPS)
            lines.append((name, row.label, *cells))
    columns = ("images", "stopping by", *paper.GROUPS)
    text = f"{HOW} Means over severities 1 to 5; which severities the paper averages is not known."
    tables = [Table("table2", "Table 2: the ViT on corrupted images", text, columns, tuple(lines), labels=2)]
    return [*tables, _by_severity(sweep)] if tables[0].measured else tables


def _by_severity(sweep: SweepRuns) -> Table:
    lines: list[Line] = [
        (group, row.label, *(_table2_cell(sweep, row, group, severity) for severity in "12345"))
        for group in paper.GROUPS
        for row in SELECTED
    ]
    columns = ("group", "stopping by", *(f"severity {severity}" for severity in "12345"))
    title = "Table 2 by severity: the ViT on CIFAR-10-C"
    return Table("table2", title, HOW, columns, tuple(lines), labels=2)


def _table2_cell(sweep: SweepRuns, row: Row, group: str, severity: str, beside: str | None = None) -> Cell:
    """Our accuracy on CIFAR-10-C, beside the paper's on `beside` if it is named."""
    published = paper.TABLE_2[beside, *row, group] if beside else None
    if beside == "imagenet_c":
        return Cell(paper=published, note=NOT_RUNNABLE)
    cell = {"network": "vit", "validation": row.validation}
    runs = sweep.where(**cell)
    measured = (corrupted_accuracy(run, "cifar10_c", row.rule, group, severity) for run in runs)
    accuracies = [100 * accuracy for accuracy in measured if accuracy is not None]
    note = "" if runs else f"not run: {sweep.command(*cell.values())}"
    if runs and not accuracies:
        note = f"not evaluated: `uv run scripts/evaluate.py runs/table2/{runs[0].name} --on=cifar10_c`, and its seeds"
    return Cell(Mean.of(accuracies), published, note)


def table3(runs: Sequence[FinishedRun]) -> list[Table]:
    """Fine-tuning, of which we have no runs: there is no config for its data."""
    del runs
    cells = (Cell(paper=value, note=NOT_RUNNABLE) for value in paper.TABLE_3.values())
    title = "Table 3: ViT-B/16 fine-tuned from ImageNet-21k"
    return [Table("table3", title, HOW, ("stopping by", *paper.TABLE_3), (("GWA (`min_then_max_gwa`)", *cells),))]
