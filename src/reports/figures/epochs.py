"""One run by epoch: the signal of every rule with the epoch it chose, beside test accuracy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from gwa import RULES
from reports.figures.style import BLUE, GREY, LINES, Line, panels
from training.run.reader import FinishedRun

SIGNALS = {
    "gwa": "GWA",
    "prediction_changes": "changed predictions",
    "prediction_churn": "changed predictions per misfit",
    "gradient_disparity": "gradient disparity",
    "train_loss": "training loss",
    "gradient_norm": "gradient norm",
    "head_gradient_norm": "gradient norm at the head",
    "prediction_entropy": "prediction entropy",
    "sharpness": "sharpness",
    "val_accuracy": "validation accuracy",
    "val_loss": "validation loss",
}
"""What the panels call the field that a rule reads first."""


def draw_signals(run: FinishedRun) -> Figure:
    """A panel of accuracies, and one for each signal of the run with the choices of the rules that read it."""
    drawn = {field: values for field in SIGNALS if _any(values := _signal(run, field))}
    figure, axes = panels(1 + len(drawn), columns=3)
    _draw_accuracies(axes[0], run)
    for panel, (field, values) in zip(axes[1:], drawn.items(), strict=True):
        _draw_signal(panel, run, field, values)
    figure.suptitle(f"{run.name}: what each rule reads, and the epoch it keeps", fontsize=10)
    return figure


def draw_test_accuracy(axes: Axes, run: FinishedRun) -> Axes:
    """Test accuracy in grey on an axis of its own at the right, behind what the panel is about."""
    right = axes.twinx()
    accuracies = [100 * value for value in run.values("test_accuracy")]
    right.plot(epochs(run), accuracies, color=GREY, linewidth=1, label="test accuracy")
    right.set_ylabel("test accuracy in %", color=GREY)
    axes.set_zorder(right.get_zorder() + 1)
    axes.patch.set_visible(False)
    return right


def epochs(run: FinishedRun) -> list[int]:
    """The numbers of the epochs, from 1."""
    return [record["epoch"] for record in run.history]


def mark(axes: Axes, epoch: int | None, values: Sequence[float], line: Line, label: str, hollow: bool = False) -> None:
    """A marker on a curve at the epoch that a rule chose; in the legend alone where it chose none."""
    color, style, marker = line
    look: dict[str, Any] = {"markersize": 10, "markerfacecolor": "none"} if hollow else {"markersize": 5}
    at = [] if epoch is None else [epoch]
    for chosen in at:
        axes.axvline(chosen, color=color, linestyle=style, linewidth=0.8)
    label = f"{label}: {'none' if epoch is None else epoch}"
    axes.plot(at, [values[chosen - 1] for chosen in at], color=color, marker=marker, linestyle="", label=label, **look)


def legend_below(axes: Axes) -> None:
    """A legend under the panel, where it hides no curve."""
    figure = axes.get_figure()
    assert figure
    below = axes.transAxes + ScaledTranslation(0, -34 / 72, figure.dpi_scale_trans)  # past ticks and label, in points
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0), bbox_transform=below, frameon=False, borderaxespad=0)


def _draw_accuracies(axes: Axes, run: FinishedRun) -> None:
    fields = {"test_accuracy": "test", "val_accuracy": "validation", "train_accuracy": "training"}
    test = [100 * value for value in run.values("test_accuracy")]
    for (field, label), (color, style, _) in zip(fields.items(), ((GREY, "-", ""), *LINES[2:]), strict=False):
        values = [100 * value for value in run.values(field)]
        if _any(values):
            axes.plot(epochs(run), values, color=color, linestyle=style, label=label)
    for rule, line in zip(("oracle", "last"), (LINES[0], LINES[1]), strict=True):
        mark(axes, RULES[rule]().select(run.history), test, line, rule)
    axes.set(xlabel="epoch", ylabel="accuracy in %", title="accuracies")
    legend_below(axes)


def _draw_signal(axes: Axes, run: FinishedRun, field: str, values: list[float]) -> None:
    draw_test_accuracy(axes, run)
    axes.plot(epochs(run), values, color=BLUE)
    rules = [name for name, rule in RULES.items() if rule.needs[0] == field]
    for i, (name, line) in enumerate(zip(rules, LINES, strict=False)):
        mark(axes, RULES[name]().select(run.history), values, line, name, hollow=i > 0)
    axes.set(xlabel="epoch", title=SIGNALS[field])
    legend_below(axes)


def _signal(run: FinishedRun, field: str) -> list[float]:
    """The values by epoch of what the rules that read `field` first compare."""
    values = run.values(field)
    if field != "prediction_churn":
        return values
    misfits = [1 - accuracy for accuracy in run.values("train_accuracy")]
    return [churn / misfit if misfit > 0 else math.nan for churn, misfit in zip(values, misfits, strict=True)]


def _any(values: Sequence[float]) -> bool:
    return not all(math.isnan(value) for value in values)
