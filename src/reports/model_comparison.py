"""Comparing networks without test data: the largest mean alignment of a training against test accuracy (Fig. 3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from reports import paper
from reports.judging import Correlation, Mean, judge
from reports.layout import Cell, Line, Table
from reports.sweep_runs import find_sweep_runs
from training.run.reader import FinishedRun

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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


def find_points(runs: Iterable[FinishedRun]) -> list[Point]:
    """One point per run of the sweep in which GWA chose an epoch."""
    points = []
    for cell, run in find_sweep_runs(runs, SWEEP):
        if judgement := judge(run, "max_gwa"):
            alignment = float(np.nanmax(run.values("alignment_mean")))
            points.append(Point(str(cell["family"]), str(cell["size"]), alignment, judgement.accuracy))
    return points


def correlate(points: Iterable[Point], family: str) -> Correlation | None:
    """Alignment against accuracy over the runs of a family; None where there are too few."""
    part = [point for point in points if point.family == family]
    return Correlation.of([point.alignment for point in part], [point.accuracy for point in part])


def tabulate_comparison(runs: Sequence[FinishedRun]) -> list[Table]:
    """Pearson's and Spearman's coefficients by family, and the paper's on CIFAR-10-C."""
    points = find_points(runs)
    lines: list[Line] = []
    for family, name in FAMILIES.items():
        ours = correlate(points, family)
        cells = []
        for coefficient in COEFFICIENTS:
            mean = Mean(getattr(ours, coefficient), None, ours.n) if ours else None
            cells.append(Cell(mean, paper.FIGURE_3[family, "cifar10", coefficient], "" if ours else NOT_RUN))
        corrupted = [paper.FIGURE_3[family, "cifar10_c", coefficient] for coefficient in COEFFICIENTS]
        lines.append((name, *cells, *(Cell(paper=value, note=NOT_COMPARED) for value in corrupted)))
    columns = ("family", "CIFAR-10, Pearson", "CIFAR-10, Spearman", "CIFAR-10-C, Pearson", "CIFAR-10-C, Spearman")
    return [Table(SWEEP, "Fig. 3: comparing networks without test data", TEXT, columns, tuple(lines))]


def draw_comparison(runs: Sequence[FinishedRun]) -> Figure | None:
    """One panel per family, a point per run; None where no networks have been compared."""
    from reports import style

    points = find_points(runs)
    if not points:
        return None
    figure, axes = style.make_panels(len(FAMILIES), columns=2, width=4.0, height=3.4)
    for axis, (family, name), (color, _, marker) in zip(axes, FAMILIES.items(), style.LINES, strict=False):
        part = [point for point in points if point.family == family]
        xs, ys = [point.alignment for point in part], [point.accuracy for point in part]
        axis.scatter(xs, ys, color=color, marker=marker)
        for point in part:
            place = (point.alignment, point.accuracy)
            axis.annotate(point.network, place, (0, -13), textcoords="offset points", size=8, ha="center")
        axis.set(xlabel="largest mean alignment of an epoch", ylabel="test accuracy in %")
        axis.margins(0.15)
        ours = correlate(points, family)
        measured = f"Pearson {ours.pearson:.2f}, Spearman {ours.spearman:.2f}" if ours else "too few networks"
        pearson, spearman = (paper.FIGURE_3[family, "cifar10", name].value for name in COEFFICIENTS)
        axis.set_title(f"{name}: {measured}\n(the paper: {pearson:.2f}, {spearman:.2f}; second-hand)")
    return figure
