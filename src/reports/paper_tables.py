"""The paper's Tables 1 to 3, each cell with ours beside it, or with the command that would make it; and Table 1 in
small: every rule on a small network and 10,000 images, with and without augmentation."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from evaluation.results import read_accuracy
from gwa import RULES
from reports import paper
from reports.judging import Mean, is_recorded
from reports.layout import Cell, Line, Table
from reports.paper import Published
from reports.sweep_runs import SweepRuns, note_missing_evaluation
from training.run.reader import FinishedRun

LABELS = {"clean": "clean labels", "aggre": "9 % wrong", "random1": "17 % wrong"}
"""The labels of CIFAR-10-N that sweeps use, in the paper's order."""

NETWORKS = {"vit": "ViT", "convnext": "ConvNeXt"}
AUGMENTATIONS = {"crop_flip": "crops and flips", "none": "no augmentation"}

CLEAN_TEXT = """The validation labels are clean, as in the paper's repository, even where training labels are wrong: \
the validation rows choose with clean labels, which a user with noisy labels does not have."""

TEXT = """Test accuracy in %: mean ± standard deviation (number of seeds) [the paper's value, ours minus it]. The \
paper's values are second-hand."""

SMALL_TEXT = """Test accuracy in % of what each rule chose, mean ± standard error (number of seeds). Rules that need \
no validation data choose in runs that train on all data, the others in runs that hold out the share named. In \
brackets the paper's Table 1 for its ViT: of another network on five times the data, so only the order of its rows can \
be compared with ours. Our validation labels are as noisy as the training labels; the paper's are clean."""

PAPER_RULES = {"label_wave": "LabelWave", "gradient_disparity": "Gradient Disparity", "max_gwa": "GWA"}
NOT_RULES = {"last": "no selection", "oracle": "best on test, which no rule can know"}
RULE_NAMES = {**PAPER_RULES, "min_then_max_gwa": "GWA for fine-tuning", **NOT_RULES}

TABLE_3_RULES = ("min_then_max_gwa", "max_gwa", "label_wave", "lowest_train_loss", "last", "oracle")
TABLE_3_DATA = {
    "ImageNet": ("imagenet", None),
    "ImageNet-V2": ("imagenet", "imagenet_v2"),
    "ImageNet ReaL": ("imagenet", "imagenet_real"),
    "iNaturalist 2018": ("inat2018", None),
    "Places365": ("places365", None),
}
"""By column of Table 3: the data of the run, and the further test set that it is evaluated on."""


class Row(NamedTuple):
    """A rule, and the share of the training data that is held out in the runs it chooses from."""

    rule: str
    validation: float

    def describe(self, val_labels: str = "") -> str:
        """How tables call the row: by the paper's name where there is one, and by the rule's own.

        `val_labels` says of a row with validation data what its labels are.
        """
        if RULES[self.rule].uses_validation():
            return f"validation {100 * self.validation:g} %{val_labels} (`{self.rule}`)"
        name = RULE_NAMES.get(self.rule)
        return f"{name} (`{self.rule}`)" if name else f"`{self.rule}`"


TABLE_2_ROWS = (Row("best_validation", 0.1), Row("best_validation", 0.01), Row("max_gwa", 0.0))


def list_rows() -> list[Row]:
    """The paper's rows first, then every other rule; last the two that select nothing: `last` and `oracle`."""
    published = [*TABLE_2_ROWS[:2], *(Row(rule, 0.0) for rule in PAPER_RULES)]
    others = []
    for name, rule in RULES.items():
        others += [Row(name, share) for share in ((0.1, 0.01) if rule.uses_validation() else (0.0,))]
    others = [row for row in others if row not in published and row.rule not in NOT_RULES]
    return [*published, *others, *(Row(rule, 0.0) for rule in NOT_RULES)]


def tabulate_small(runs: Sequence[FinishedRun]) -> list[Table]:
    """Rule by labels × augmentation, beside the paper's rows; nothing where the sweep has no finished runs."""
    sweep = SweepRuns(runs, "table1_small")
    if not sweep.by_cell:
        return []
    conditions = list(itertools.product(LABELS, AUGMENTATIONS))
    columns = [f"{LABELS[labels]}, {AUGMENTATIONS[augmentation]}" for labels, augmentation in conditions]
    columns += [f"paper's ViT, {labels}" for labels in LABELS.values()]
    lines: list[Line] = []
    finished = [run for _, run in sweep.by_cell]
    for row in (row for row in list_rows() if is_recorded(finished, row.rule)):
        cells = [
            _make_cell(sweep, row.rule, {"labels": labels, "augmentation": augmentation, "validation": row.validation})
            for labels, augmentation in conditions
        ]
        published = [Cell(paper=paper.TABLE_1.get(("vit", *row, labels))) for labels in LABELS]
        lines.append((row.describe(), *cells, *published))
    title = "Table 1 in small: selection rules on 10,000 images of CIFAR-10"
    return [Table("table1_small", title, SMALL_TEXT, ("rule", *columns), tuple(lines), standard_errors=True)]


def tabulate_table1(runs: Sequence[FinishedRun]) -> list[Table]:
    """Selection rules by network and data; rules that the paper does not have are shown once they have runs.

    Runs in bfloat16 are rows of their own.
    """
    cifar10, imagenet = SweepRuns(runs, "table1"), SweepRuns(runs, "table1:imagenet")
    bfloat16 = SweepRuns(runs, "table1:bfloat16")
    lines: list[Line] = []
    for (network, name), row in itertools.product(NETWORKS.items(), list_rows()):
        cells = []
        for column in paper.TABLE_1_COLUMNS:
            published = paper.TABLE_1.get((network, *row, column))
            if column in LABELS:
                cell: dict[str, Any] = {"network": network, "labels": column, "validation": row.validation}
                cells.append(_make_cell(cifar10, row.rule, cell, published))
            else:
                test_set = None if column == "imagenet" else column
                cell = {"network": network, "validation": row.validation}
                cells.append(_make_cell(imagenet, row.rule, cell, published, test_set))
        if any(cell.ours or cell.paper for cell in cells):
            lines.append((name, row.describe(", clean labels"), *cells))
    for (network, name), row in itertools.product(NETWORKS.items(), list_rows()):
        where = {"network": network, "validation": row.validation}
        judged = (bfloat16.judge(row.rule, labels=column, **where) for column in paper.TABLE_1_COLUMNS)
        cells = [Cell(ours, note=note) for ours, note in judged]
        if any(cell.ours for cell in cells):
            lines.append((f"{name}, bfloat16", row.describe(", clean labels"), *cells))
    columns = ("network", "stopping by", *paper.TABLE_1_COLUMNS.values())
    title = "Table 1: test accuracy of what each rule chose"
    return [Table("table1", title, f"{TEXT} {CLEAN_TEXT}", columns, tuple(lines), labels=2)]


def _make_cell(
    sweep: SweepRuns,
    rule: str,
    cell: Mapping[str, Any],
    published: Published | None = None,
    test_set: str | None = None,
) -> Cell:
    """Accuracy of what a rule chose in the runs of a cell, on their own test data or on another set."""
    if not sweep.where(**cell):
        return Cell(paper=published, note=sweep.note_not_run(list(cell.values())))
    ours, note = sweep.judge_on(test_set, rule, **cell) if test_set else sweep.judge(rule, **cell)
    return Cell(ours, published, note)


def tabulate_table2(runs: Sequence[FinishedRun]) -> list[Table]:
    """Accuracy on corrupted images by group, its mean over severities beside the paper's; then by severity."""
    sweeps = {"cifar10_c": SweepRuns(runs, "table2"), "imagenet_c": SweepRuns(runs, "table1:imagenet")}
    lines: list[Line] = []
    for data, name in {"cifar10_c": "CIFAR-10-C", "imagenet_c": "ImageNet-C"}.items():
        for row in TABLE_2_ROWS:
            published = {group: paper.TABLE_2[data, *row, group] for group in paper.GROUPS}
            cells = (_judge_corrupted(sweeps[data], data, row, group, "mean", published[group]) for group in published)
            lines.append((name, row.describe(), *cells))
    columns = ("images", "stopping by", *paper.GROUPS)
    text = f"{TEXT} Means over severities 1 to 5; which severities the paper averages is not known."
    table = Table("table2", "Table 2: the ViT on corrupted images", text, columns, tuple(lines), labels=2)
    return [table, _tabulate_severities(sweeps["cifar10_c"])] if table.measured else [table]


def _tabulate_severities(sweep: SweepRuns) -> Table:
    lines: list[Line] = [
        (group, row.describe(), *(_judge_corrupted(sweep, "cifar10_c", row, group, severity) for severity in "12345"))
        for group, row in itertools.product(paper.GROUPS, TABLE_2_ROWS)
    ]
    columns = ("group", "stopping by", *(f"severity {severity}" for severity in "12345"))
    title = "Table 2 by severity: the ViT on CIFAR-10-C"
    return Table("table2", title, TEXT, columns, tuple(lines), labels=2)


def _judge_corrupted(
    sweep: SweepRuns, data: str, row: Row, group: str, severity: str, published: Published | None = None
) -> Cell:
    cell = {"network": "vit", "validation": row.validation}
    runs = sweep.where(**cell)
    if not runs:
        return Cell(paper=published, note=sweep.note_not_run(list(cell.values())))
    accuracies = (read_accuracy(run.workdir, data, row.rule, group, severity) for run in runs)
    mean = Mean.of(100 * accuracy for accuracy in accuracies if accuracy is not None)
    return Cell(mean, published, "" if mean else note_missing_evaluation(runs[0], data))


def tabulate_table3(runs: Sequence[FinishedRun]) -> list[Table]:
    """Fine-tuning; of the paper, only the values for GWA are known."""
    sweep = SweepRuns(runs, "table3")
    lines: list[Line] = []
    for rule in TABLE_3_RULES:
        published = paper.TABLE_3 if rule == "min_then_max_gwa" else {}
        cells = [
            _make_cell(sweep, rule, {"data": data}, published.get(name), test_set)
            for name, (data, test_set) in TABLE_3_DATA.items()
        ]
        if any(cell.ours or cell.paper for cell in cells):
            lines.append((Row(rule, 0.0).describe(), *cells))
    title = "Table 3: ViT-B/16 fine-tuned from ImageNet-21k"
    return [Table("table3", title, TEXT, ("stopping by", *paper.TABLE_3), tuple(lines))]
