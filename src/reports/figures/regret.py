"""What each rule loses against the best epoch of the same run, by condition."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gwa import RULES
from reports.figures.style import BLACK, BLUE, RED, panels
from reports.judging import Mean
from reports.tables.regret import Judged, by_condition, judge_sweep, regrets
from training.run.reader import FinishedRun

COLUMNS = 3

SHOWN = tuple(rule for rule in RULES if rule != "oracle")
"""All rules but the one that the others are judged by, which loses nothing."""


def draw_regret(runs: Sequence[FinishedRun], sweep: str) -> Figure | None:
    """Dots with standard errors, a panel per condition and one over all; None where the sweep has no finished runs."""
    judged = judge_sweep(runs, sweep)
    if not judged:
        return None
    conditions = by_condition(judged)
    figure, axes = panels(len(conditions), COLUMNS, width=3.2, height=0.2 * len(SHOWN) + 0.9)
    for i, (panel, (condition, part)) in enumerate(zip(axes, conditions.items(), strict=True)):
        _draw(panel, part, condition, named=i % COLUMNS == 0)
    figure.suptitle(
        f"{sweep}: test accuracy lost against the best epoch of the same run, mean ± standard error\n"
        "circles: rules that read training alone; squares: held-out data; diamond: no selection",
        fontsize=10,
    )
    return figure


def _draw(axes: Axes, judged: Sequence[Judged], condition: str, named: bool) -> None:
    for position, rule in enumerate(SHOWN):
        mean = Mean.of(regrets(judged, rule))
        if mean is None:
            continue
        color, marker = _style(rule)
        axes.errorbar(mean.mean, position, xerr=mean.error, color=color, marker=marker, markersize=5, capsize=2)
    axes.set_yticks(range(len(SHOWN)), SHOWN if named else [""] * len(SHOWN))
    axes.set_ylim(len(SHOWN) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.grid(axis="x", linewidth=0.4)
    axes.set(xlabel="percentage points", title=f"{condition} ({len(judged)} runs)")


def _style(rule: str) -> tuple[str, str]:
    """Blue circles read training alone, red squares validation data; black is no selection."""
    if rule == "last":
        return BLACK, "D"
    return (RED, "s") if RULES[rule].uses_validation() else (BLUE, "o")
