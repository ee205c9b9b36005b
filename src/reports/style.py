"""How every figure looks, what their panels have in common, and how they are saved: the same records, the same bytes.

This file alone imports Matplotlib, and only functions that draw import this file, so that tables start without it.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from reports.palette import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY
from training.run.reader import FinishedRun

Line = tuple[str, Any, str]

LINES: tuple[Line, ...] = (
    (BLUE, "-", "o"),
    (RED, "--", "s"),
    (GREEN, "-.", "^"),
    (PURPLE, ":", "D"),
    (ORANGE, (0, (5, 1, 1, 1, 1, 1)), "v"),
    (SKY, (0, (8, 2)), "P"),
    (BLACK, (0, (1, 1)), "X"),
)
"""Colour, line style and marker of the curves of a panel: no two differ in colour alone."""

matplotlib.rcParams.update({"font.size": 9, "axes.titlesize": 9, "svg.hashsalt": "gwa"})
matplotlib.rcParams.update(dict.fromkeys(("legend.fontsize", "xtick.labelsize", "ytick.labelsize"), 8))


def make_panels(count: int, columns: int, width: float = 3.6, height: float = 2.6) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, row by row, each of this size in inches."""
    columns = min(count, columns)
    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return figure, [figure.add_subplot(rows, columns, i + 1) for i in range(count)]


def draw_test_accuracy(axes: Axes, run: FinishedRun) -> None:
    """Test accuracy in grey on a second axis at the right, behind the other curves of the panel."""
    right = axes.twinx()
    accuracies = [100 * value for value in run.values("test_accuracy")]
    right.plot(number_epochs(run), accuracies, color=GREY, linewidth=1, label="test accuracy")
    right.set_ylabel("test accuracy in %", color=GREY)
    raise_above(axes, right)


def raise_above(axes: Axes, other: Axes) -> None:
    """Draws `axes` over `other`, which shows through."""
    axes.set_zorder(other.get_zorder() + 1)
    axes.patch.set_visible(False)


def number_epochs(run: FinishedRun) -> list[int]:
    """The numbers of the epochs, from 1."""
    return [record["epoch"] for record in run.history]


def mark(axes: Axes, epoch: int | None, values: Sequence[float], line: Line, label: str, hollow: bool = False) -> None:
    """A marker on a curve at the epoch that a rule chose; only a legend entry where it chose none."""
    color, style, marker = line
    look: dict[str, Any] = {"markersize": 10, "markerfacecolor": "none"} if hollow else {"markersize": 5}
    chosen = [] if epoch is None else [epoch]
    for position in chosen:
        axes.axvline(position, color=color, linestyle=style, linewidth=0.8)
    label = f"{label}: {'none' if epoch is None else epoch}"
    heights = [values[position - 1] for position in chosen]
    axes.plot(chosen, heights, color=color, marker=marker, linestyle="", label=label, **look)


def put_legend_below(axes: Axes) -> None:
    """A legend under the panel, where it hides no curve."""
    figure = axes.get_figure()
    assert figure
    below = axes.transAxes + ScaledTranslation(0, -34 / 72, figure.dpi_scale_trans)  # past ticks and label, in points
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0), bbox_transform=below, frameon=False, borderaxespad=0)


def save(figure: Figure, path: pathlib.Path) -> None:
    """Writes a file in the format of its ending, without the time of day, so that drawing again changes nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix)
    figure.savefig(path, dpi=150, metadata=metadata)


def save_all(figures: Mapping[str, Figure], folder: pathlib.Path) -> list[pathlib.Path]:
    """Writes each figure as PNG and as SVG, and returns the files."""
    paths = {folder / f"{name}.{ending}": figure for name, figure in figures.items() for ending in ("png", "svg")}
    for path, figure in paths.items():
        save(figure, path)
    return list(paths)
