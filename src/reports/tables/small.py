"""The paper's Table 1 in small: every rule on a small network and 10,000 images, with and without augmentation."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from reports import paper
from reports.tables.layout import Cell, Line, Table
from reports.tables.selections import LABELS, Row, SweepRuns, rows
from training.run.reader import FinishedRun

AUGMENTATIONS = {"crop_flip": "crops and flips", "none": "no augmentation"}

TEXT = """Test accuracy in % of what each rule chose, mean ± standard error (number of seeds). Rules that need no \
validation data choose in runs that train on all data, the others in runs that hold out the share named. In brackets \
the paper's Table 1 for its ViT: of another network on five times the data, so only the order of its rows can be \
compared with ours."""


def small(runs: Sequence[FinishedRun]) -> list[Table]:
    """Rule by labels × augmentation, beside the paper's rows; nothing where the sweep has no finished runs."""
    sweep = SweepRuns(runs, "table1_small")
    if not sweep.by_cell:
        return []
    conditions = list(itertools.product(LABELS, AUGMENTATIONS))
    columns = [f"{LABELS[labels]}, {AUGMENTATIONS[augmentation]}" for labels, augmentation in conditions]
    columns += [f"paper's ViT, {labels}" for labels in LABELS.values()]
    lines: list[Line] = []
    for row in rows():
        cells = [_cell(sweep, row, labels, augmentation) for labels, augmentation in conditions]
        published = [Cell(paper=paper.TABLE_1.get(("vit", *row, labels))) for labels in LABELS]
        lines.append((row.label, *cells, *published))
    title = "Table 1 in small: selection rules on 10,000 images of CIFAR-10"
    return [Table("table1_small", title, TEXT, ("rule", *columns), tuple(lines), standard_errors=True)]


def _cell(sweep: SweepRuns, row: Row, labels: str, augmentation: str) -> Cell:
    cell = {"labels": labels, "augmentation": augmentation, "validation": row.validation}
    if not sweep.where(**cell):
        return Cell(note=f"not run: {sweep.command(*cell.values())}")
    ours, note = sweep.accuracy(row.rule, **cell)
    return Cell(ours, note=note)
