"""The paper's Tables 1 to 3, each cell with ours beside it, or with the command that would make it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.results import read_accuracy
from reports import paper
from reports.judging import Mean
from reports.paper import Published
from reports.tables.layout import Cell, Line, Table
from reports.tables.selections import LABELS, Row, SweepRuns, not_evaluated, rows
from training.run.reader import FinishedRun

NETWORKS = {"vit": "ViT", "convnext": "ConvNeXt"}
FURTHER_SETS = ("imagenet_v2", "imagenet_real")

HOW = """Test accuracy in %: mean ± standard deviation (number of seeds) [the paper's value, ours minus it]. The \
paper's values are second-hand."""

FINE_TUNING = ("min_then_max_gwa", "max_gwa", "label_wave", "lowest_train_loss", "last", "oracle")
"""The rules that fine-tuning runs follow."""

TABLE_3_DATA = {
    "ImageNet": ("imagenet", None),
    "ImageNet-V2": ("imagenet", "imagenet_v2"),
    "ImageNet ReaL": ("imagenet", "imagenet_real"),
    "iNaturalist 2018": ("inat2018", None),
    "Places365": ("places365", None),
}
"""By column of Table 3: the data of the run, and the further test set that it is judged on."""

SELECTED = (Row("best_validation", 0.1), Row("best_validation", 0.01), Row("max_gwa", 0.0))
"""The rows of the paper's Table 2."""


def table1(runs: Sequence[FinishedRun]) -> list[Table]:
    """Selection rules by network and data; rules that the paper does not have are shown once they have runs."""
    sweeps = {name: SweepRuns(runs, name) for name in ("table1", "table1:imagenet")}
    lines: list[Line] = []
    for network, name in NETWORKS.items():
        for row in rows():
            cells = [_table1_cell(sweeps, network, row, column) for column in paper.TABLE_1_COLUMNS]
            if any(cell.ours or cell.paper for cell in cells):
                lines.append((name, row.label, *cells))
    columns = ("network", "stopping by", *paper.TABLE_1_COLUMNS.values())
    title = "Table 1: test accuracy of what each rule chose"
    return [Table("table1", title, HOW, columns, tuple(lines), labels=2)]


def _table1_cell(sweeps: Mapping[str, SweepRuns], network: str, row: Row, column: str) -> Cell:
    published = paper.TABLE_1.get((network, *row, column))
    if column in LABELS:
        cell: dict[str, Any] = {"network": network, "labels": column, "validation": row.validation}
        return _cell(sweeps["table1"], row.rule, None, published, cell)
    test_set = column if column in FURTHER_SETS else None
    cell = {"network": network, "validation": row.validation}
    return _cell(sweeps["table1:imagenet"], row.rule, test_set, published, cell)


def _cell(
    sweep: SweepRuns, rule: str, test_set: str | None, published: Published | None, cell: Mapping[str, Any]
) -> Cell:
    """Accuracy of what a rule chose in the runs of a cell, on their own test data or on a further set."""
    if not sweep.where(**cell):
        return Cell(paper=published, note=f"not run: {sweep.command(*cell.values())}")
    ours, note = sweep.elsewhere(test_set, rule, **cell) if test_set else sweep.accuracy(rule, **cell)
    return Cell(ours, published, note)


def table2(runs: Sequence[FinishedRun]) -> list[Table]:
    """Accuracy on corrupted images by group, its mean over severities beside the paper's; then by severity."""
    sweeps = {"cifar10_c": SweepRuns(runs, "table2"), "imagenet_c": SweepRuns(runs, "table1:imagenet")}
    lines: list[Line] = []
    for data, name in {"cifar10_c": "CIFAR-10-C", "imagenet_c": "ImageNet-C"}.items():
        for row in SELECTED:
            published = {group: paper.TABLE_2[data, *row, group] for group in paper.GROUPS}
            cells = (_table2_cell(sweeps[data], data, row, group, "mean", published[group]) for group in published)
            lines.append((name, row.label, *cells))
    columns = ("images", "stopping by", *paper.GROUPS)
    text = f"{HOW} Means over severities 1 to 5; which severities the paper averages is not known."
    tables = [Table("table2", "Table 2: the ViT on corrupted images", text, columns, tuple(lines), labels=2)]
    return [*tables, _by_severity(sweeps["cifar10_c"])] if tables[0].measured else tables


def _by_severity(sweep: SweepRuns) -> Table:
    lines: list[Line] = [
        (group, row.label, *(_table2_cell(sweep, "cifar10_c", row, group, severity) for severity in "12345"))
        for group in paper.GROUPS
        for row in SELECTED
    ]
    columns = ("group", "stopping by", *(f"severity {severity}" for severity in "12345"))
    title = "Table 2 by severity: the ViT on CIFAR-10-C"
    return Table("table2", title, HOW, columns, tuple(lines), labels=2)


def _table2_cell(
    sweep: SweepRuns, data: str, row: Row, group: str, severity: str, published: Published | None = None
) -> Cell:
    cell = {"network": "vit", "validation": row.validation}
    runs = sweep.where(**cell)
    if not runs:
        return Cell(paper=published, note=f"not run: {sweep.command(*cell.values())}")
    measured = (read_accuracy(run.workdir, data, row.rule, group, severity) for run in runs)
    accuracies = [100 * accuracy for accuracy in measured if accuracy is not None]
    return Cell(Mean.of(accuracies), published, "" if accuracies else not_evaluated(runs[0], data))


def table3(runs: Sequence[FinishedRun]) -> list[Table]:
    """Fine-tuning; the paper's values are known for GWA alone."""
    sweep = SweepRuns(runs, "table3")
    lines: list[Line] = []
    for rule in FINE_TUNING:
        published = {name: paper.TABLE_3[name] if rule == "min_then_max_gwa" else None for name in paper.TABLE_3}
        cells = [
            _cell(sweep, rule, test_set, published[name], {"data": data})
            for name, (data, test_set) in TABLE_3_DATA.items()
        ]
        if any(cell.ours or cell.paper for cell in cells):
            lines.append((Row(rule, 0.0).label, *cells))
    title = "Table 3: ViT-B/16 fine-tuned from ImageNet-21k"
    return [Table("table3", title, HOW, ("stopping by", *paper.TABLE_3), tuple(lines))]
