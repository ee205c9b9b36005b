"""Does cancellation matter? GWA by epoch from `head_alignment` and from the textbook residual, in two dtypes."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from reports.figures.epochs import draw_test_accuracy, epochs, legend_below, mark
from reports.figures.style import LINES, panels
from reports.tables.textbook import choices, textbook_gwa
from training.run.reader import FinishedRun, runs_by_cell


def draw_textbook(runs: Sequence[FinishedRun]) -> Figure | None:
    """A panel for each condition and compute dtype of the sweep `cancellation`, its first seed; None without runs."""
    found = [(cell, run) for cell, run in runs_by_cell(runs, "cancellation") if cell["seed"] == 0]
    if not found:
        return None
    figure, axes = panels(len(found), columns=2, width=4.6, height=3.2)
    for panel, (cell, run) in zip(axes, found, strict=True):
        draw_test_accuracy(panel, run)
        online, textbook = choices(run)
        curves = (("online", run.values("gwa"), online), ("textbook", textbook_gwa(run), textbook))
        for i, ((name, values, chosen), line) in enumerate(zip(curves, LINES, strict=False)):
            panel.plot(epochs(run), values, color=line[0], linestyle=line[1])
            mark(panel, chosen, values, line, f"{name}, chosen", hollow=i > 0)
        panel.set(xlabel="epoch", ylabel="GWA", title=f"{cell['condition']}, {cell['compute_dtype']}")
        legend_below(panel)
    return figure
