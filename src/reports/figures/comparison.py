"""Networks of a family by the largest mean alignment of their training and by test accuracy: the paper's Fig. 3."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from reports import paper
from reports.figures.style import LINES, panels
from reports.tables.comparison import FAMILIES, correlation, points
from training.run.reader import FinishedRun


def draw_comparison(runs: Sequence[FinishedRun]) -> Figure | None:
    """One panel per family, a point per run; None where no networks have been compared."""
    found = points(runs)
    if not found:
        return None
    figure, axes = panels(len(FAMILIES), columns=2, width=4.0, height=3.4)
    for axis, (family, name), (color, _, marker) in zip(axes, FAMILIES.items(), LINES, strict=False):
        part = [point for point in found if point.family == family]
        axis.scatter(
            [point.alignment for point in part], [point.accuracy for point in part], color=color, marker=marker
        )
        for point in part:
            axis.annotate(
                point.network,
                (point.alignment, point.accuracy),
                (0, -13),
                textcoords="offset points",
                size=8,
                ha="center",
            )
        axis.set(xlabel="largest mean alignment of an epoch", ylabel="test accuracy in %")
        axis.margins(0.15)
        ours = correlation(found, family)
        measured = f"Pearson {ours.pearson:.2f}, Spearman {ours.spearman:.2f}" if ours else "too few networks"
        pearson, spearman = (paper.FIGURE_3[family, "cifar10", name].value for name in ("pearson", "spearman"))
        axis.set_title(f"{name}: {measured}\n(the paper: {pearson:.2f}, {spearman:.2f}; second-hand)")
    return figure
