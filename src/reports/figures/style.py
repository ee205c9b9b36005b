"""How every figure looks, and how it is saved: the same bytes for the same records."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
"""The palette of Okabe and Ito, which colour-blind readers can tell apart."""

GREY = "#777777"

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

matplotlib.rcParams.update(
    {
        "font.size": 9,
        "axes.titlesize": 9,
        "legend.fontsize": 8,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "svg.hashsalt": "gwa",
    }
)


def panels(count: int, columns: int, width: float = 3.6, height: float = 2.6) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, row by row, each of this size in inches."""
    columns = min(count, columns)
    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return figure, [figure.add_subplot(rows, columns, i + 1) for i in range(count)]


def save(figure: Figure, path: pathlib.Path) -> None:
    """Writes a file in the format of its ending, without the time of day, so that drawing again changes nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix)
    figure.savefig(path, dpi=150, metadata=metadata)


def save_both(figures: Sequence[tuple[str, Figure]], folder: pathlib.Path) -> list[pathlib.Path]:
    """Writes each figure as PNG and as SVG, and returns the files."""
    paths = [folder / f"{name}.{ending}" for name, _ in figures for ending in ("png", "svg")]
    for name, figure in figures:
        save(figure, folder / f"{name}.png")
        save(figure, folder / f"{name}.svg")
    return paths
