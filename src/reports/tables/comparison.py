"""Comparing networks without test data: the largest mean alignment of a training against test accuracy (Fig. 3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from reports import paper
from reports.judging import Correlation, Mean, judge
from reports.tables.layout import Cell, Line, Table
from training.run.reader import FinishedRun, runs_by_cell

SWEEP = "model_comparison"
COEFFICIENTS = ("pearson", "spearman")
FAMILIES = {"convnext": "ConvNeXt", "vit": "ViT"}

TEXT = """Correlation, over the networks of a family, of the largest mean alignment of a training with test accuracy \
at the epoch of maximal GWA; one point per run: coefficient (number of runs) [the paper's, ours minus it]. The paper's \
values are second-hand."""

NOT_RUN = f"not run, or too few networks: `uv run scripts/sweep.py configs/sweeps/{SWEEP}.py`"
NOT_COMPARED = "not compared yet: networks on corrupted images"


class Point(NamedTuple):
    """A run: its network's family and size, the largest mean alignment of an epoch, test accuracy in %."""

    family: str
    network: str
    alignment: float
    accuracy: float


def points(runs: Iterable[FinishedRun]) -> list[Point]:
    """One point per run of the sweep in which GWA chose an epoch."""
    found = []
    for cell, run in runs_by_cell(runs, SWEEP):
        judgement = judge(run, "max_gwa")
        if judgement:
            alignment = float(np.nanmax(run.values("alignment_mean")))
            found.append(Point(str(cell["family"]), str(cell["size"]), alignment, judgement.accuracy))
    return found


def correlation(points: Iterable[Point], family: str) -> Correlation | None:
    """Alignment against accuracy over the runs of a family; None where there are too few."""
    pairs = [(point.alignment, point.accuracy) for point in points if point.family == family]
    return Correlation.of([alignment for alignment, _ in pairs], [accuracy for _, accuracy in pairs])


def model_comparison(runs: Sequence[FinishedRun]) -> list[Table]:
    """Pearson's and Spearman's coefficients by family, and the paper's on CIFAR-10-C."""
    found = points(runs)
    lines: list[Line] = []
    for family, name in FAMILIES.items():
        ours = correlation(found, family)
        cells = [_cell(ours, family, coefficient) for coefficient in COEFFICIENTS]
        corrupted = [paper.FIGURE_3[family, "cifar10_c", coefficient] for coefficient in COEFFICIENTS]
        lines.append((name, *cells, *(Cell(paper=value, note=NOT_COMPARED) for value in corrupted)))
    columns = ("family", "CIFAR-10, Pearson", "CIFAR-10, Spearman", "CIFAR-10-C, Pearson", "CIFAR-10-C, Spearman")
    return [Table(SWEEP, "Fig. 3: comparing networks without test data", TEXT, columns, tuple(lines))]


def _cell(ours: Correlation | None, family: str, coefficient: str) -> Cell:
    published = paper.FIGURE_3[family, "cifar10", coefficient]
    if ours is None:
        return Cell(paper=published, note=NOT_RUN)
    return Cell(Mean(getattr(ours, coefficient), None, ours.n), published)
