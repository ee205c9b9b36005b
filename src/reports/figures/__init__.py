"""The figures of `scripts/figures.py`: those of one run, and those over many. All are drawn from records alone."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from reports.figures.ablations import draw_estimators, draw_kurtosis, draw_layers
from reports.figures.alignments import draw_alignments, draw_overview
from reports.figures.comparison import draw_comparison
from reports.figures.epochs import draw_signals
from reports.figures.regret import draw_regret
from reports.figures.textbook import draw_textbook
from reports.tables.regret import SWEEPS
from training.run.reader import FinishedRun


def of_run(run: FinishedRun) -> list[tuple[str, Figure]]:
    """The figures that the records of a run allow, by file name."""
    figures = {
        "run": draw_overview(run),
        "signals": draw_signals(run),
        "alignments": draw_alignments(run),
        "estimators": draw_estimators(run),
        "layers": draw_layers(run),
        "kurtosis": draw_kurtosis(run),
    }
    return [(name, figure) for name, figure in figures.items() if figure]


def of_many(runs: Sequence[FinishedRun]) -> list[tuple[str, Figure]]:
    """The figures over many runs for which there are runs, by file name."""
    figures = {f"regret_{sweep}": draw_regret(runs, sweep) for sweep in SWEEPS}
    figures["model_comparison"] = draw_comparison(runs)
    figures["textbook"] = draw_textbook(runs)
    return [(name, figure) for name, figure in figures.items() if figure]
