"""One run by epoch, scored in other ways: other estimators (Fig. 6), other layers (Fig. 7), no kurtosis (Fig. 9)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from gwa import RULES
from reports.figures.epochs import draw_test_accuracy, epochs, legend_below, mark
from reports.figures.style import LINES, Line, panels
from training.run.reader import FinishedRun


def draw_estimators(run: FinishedRun) -> Figure | None:
    """GWA of the online estimator and of others by epoch, and their differences; None where there are no others."""
    others = {name: values for name, values in _estimates(run).items() if not _is_layer(name)}
    if not others:
        return None
    figure, axes = panels(2, columns=2, width=4.4, height=3.2)
    online = run.values("gwa")
    draw_test_accuracy(axes[0], run)
    for i, ((name, values), line) in enumerate(zip({"online": online, **others}.items(), LINES, strict=False)):
        axes[0].plot(epochs(run), values, color=line[0], linestyle=line[1])
        mark(axes[0], _maximum(run, values), values, line, f"{name}, maximum", hollow=i > 0)
    for (name, values), line in zip(others.items(), LINES[1:], strict=False):
        differences = [first - second for first, second in zip(online, values, strict=True)]
        axes[1].plot(epochs(run), differences, color=line[0], linestyle=line[1], label=f"online − {name}")
    axes[1].axhline(0, color="black", linewidth=0.6)
    axes[0].set(xlabel="epoch", ylabel="GWA", title="estimators of GWA")
    axes[1].set(xlabel="epoch", ylabel="difference in GWA", title="difference to the online estimator")
    for panel in axes:
        legend_below(panel)
    return figure


def draw_layers(run: FinishedRun) -> Figure | None:
    """GWA at the head, at other layers and over the full network by epoch; None where only the head was scored."""
    layers = {name.removeprefix("layers/"): values for name, values in _estimates(run).items() if _is_layer(name)}
    if not layers:
        return None
    curves = {"head": run.values("gwa"), **layers}
    figure, axes = panels(len(curves), columns=3)
    for panel, (name, values), line in zip(axes, curves.items(), _cycle(len(curves)), strict=True):
        draw_test_accuracy(panel, run)
        panel.plot(epochs(run), values, color=line[0])
        mark(panel, _maximum(run, values), values, line, "maximum after warm-up")
        panel.set(xlabel="epoch", ylabel="GWA", title=name)
        legend_below(panel)
    return figure


def draw_kurtosis(run: FinishedRun) -> Figure:
    """GWA and the plain mean of the alignments, each with the epoch of its maximum, and the kurtosis between them."""
    fields = {
        "gwa": "GWA: mean / (excess kurtosis + 1.2)",
        "alignment_mean": "mean alignment",
        "excess_kurtosis": "excess kurtosis",
    }
    figure, axes = panels(3, columns=3, height=3.0)
    for panel, (field, title), line in zip(axes, fields.items(), LINES, strict=False):
        values = run.values(field)
        draw_test_accuracy(panel, run)
        panel.plot(epochs(run), values, color=line[0])
        if field != "excess_kurtosis":
            mark(panel, _maximum(run, values), values, line, "maximum after warm-up")
            legend_below(panel)
        panel.set(xlabel="epoch", title=title)
    return figure


def _estimates(run: FinishedRun) -> Mapping[str, list[float]]:
    """GWA by epoch of each further estimate in the records; NaN where it was not taken."""
    names = dict.fromkeys(name for record in run.history for name in record.get("estimates") or {})
    return {name: [_number((record.get("estimates") or {}).get(name)) for record in run.history] for name in names}


def _number(estimate: Mapping[str, float | None] | None) -> float:
    value = estimate.get("gwa") if estimate else None
    return math.nan if value is None else value


def _maximum(run: FinishedRun, values: Sequence[float]) -> int | None:
    """The epoch that the paper's rule would keep if these values were GWA."""
    history = [{**record, "gwa": value} for record, value in zip(run.history, values, strict=True)]
    return RULES["max_gwa"]().select(history)


def _is_layer(name: str) -> bool:
    return name == "full" or name.startswith("layers/")


def _cycle(count: int) -> list[Line]:
    return [LINES[i % len(LINES)] for i in range(count)]
