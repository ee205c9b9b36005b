"""The parts of every chart of a page, in Vega-Lite: colours that follow the page, one x axis for all, values on hover.

Specifications are written as Vega-Lite's JSON and not through Altair, whose import would take a quarter of the time
that a short run may spend on its page. Text from users stands in data alone, never in a field's name or an expression.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"

SERIES_COLORS = tuple(f"var(--series-{i})" for i in range(1, 7))
"""Variables of the page's style sheet, so that a chart follows the scheme of the page and of the printer."""

DASHES = ([1, 0], [5, 3], [2, 2], [8, 3, 2, 3], [10, 3], [1, 3])
"""Beside the colours, so that curves differ in print and for every eye."""

CONFIG: dict[str, Any] = {
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--muted)",
        "titleColor": "var(--muted)",
        "titleFontWeight": "normal",
        "gridColor": "var(--line)",
        "domainColor": "var(--line)",
        "tickColor": "var(--line)",
        "labelFontSize": 11,
        "titleFontSize": 11,
    },
    "legend": {"labelColor": "var(--text)", "labelFontSize": 12, "symbolSize": 220, "symbolStrokeWidth": 2},
    "title": {"color": "var(--muted)", "fontWeight": "normal", "fontSize": 11},
}

X_AXIS = {"name": "x_axis", "value": "epoch"}
"""The parameter that the switch of the page sets, to `epoch` or `step`."""

PLACE_ON_AXIS = {"calculate": "x_axis === 'step' ? datum.step : datum.epoch", "as": "x"}
"""The transform that gives a row its place on that axis."""

CHOICE_LINE = {"type": "rule", "color": "var(--text)", "strokeDash": [3, 3], "strokeWidth": 1}
"""The mark of the epoch of the rule that chooses."""


@dataclasses.dataclass(frozen=True)
class Chart:
    """A chart of a page.

    Attributes:
      name: of its element, unique on the page.
      title: above it.
      description: what it shows, for those who cannot see it.
      spec: in Vega-Lite.
    """

    name: str
    title: str
    description: str
    spec: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Mark:
    """An epoch that rules chose, to be marked on a curve.

    Attributes:
      rules: names of the rules.
      epoch, value: where the mark stands; None where the value is not known.
      is_choice: whether the rule that chooses is among them.
    """

    rules: str
    epoch: int
    value: float | None
    is_choice: bool


def draw_curves(
    steps: Sequence[int],
    series: Mapping[str, Sequence[float]],
    marks: Sequence[Mark],
    format: str,
    domain: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """Curves over the epochs of a run.

    Args:
      steps: the step at the end of each epoch, from epoch 1 on.
      series: values by epoch, by the name in the legend; NaN leaves a gap.
      marks: the chosen epochs.
      format: of a value, as d3 writes it, such as `.4f`.
      domain: of the y axis; by default what the values need.
    """
    names = list(series)
    values = [
        {"epoch": i + 1, "step": step, "series": name, "value": clean(column[i], 6)}
        for name, column in series.items()
        for i, step in enumerate(steps)
        if not math.isnan(column[i])
    ]
    scale: dict[str, Any] = {"zero": False} | ({"domain": list(domain), "clamp": True} if domain else {})
    legend = {"orient": "top", "title": None, "direction": "horizontal", "columns": 2} if len(names) > 1 else None
    lines = {
        "mark": {"type": "line", "strokeWidth": 2, "clip": True, "point": {"size": 60} if len(steps) == 1 else False},
        "encoding": {
            "y": {"field": "value", "type": "quantitative", "title": None, "scale": scale},
            "color": {
                "field": "series",
                "scale": {"domain": names, "range": list(SERIES_COLORS[: len(names)])},
                "legend": legend,
            },
            "strokeDash": {
                "field": "series",
                "scale": {"domain": names, "range": list(DASHES[: len(names)])},
                "legend": legend,
            },
        },
    }
    return put_over_epochs(
        [lines, *_draw_marks(marks, steps, format), _draw_hover(names, format)], values, max(1, len(steps) - 1)
    )


def put_over_epochs(
    layers: Sequence[Mapping[str, Any]], values: Sequence[Mapping[str, Any]], span: int
) -> dict[str, Any]:
    """Layers over the x axis of the page, which spans so many epochs; each row of the data has `epoch` and `step`."""
    ticks = {"expr": f"min(ceil(width / 40), {span})"}  # so that none stands between two epochs
    axis = {"grid": False, "format": ",d", "tickCount": ticks}
    scale = {"zero": False, "nice": False, "padding": 4}
    position = {"field": "x", "type": "quantitative", "title": None, "axis": axis, "scale": scale}
    return {
        "$schema": SCHEMA,
        "config": CONFIG,
        "width": "container",
        "height": 180,
        "autosize": {"type": "fit", "contains": "padding"},
        "title": {"text": {"expr": "x_axis"}, "orient": "bottom", "anchor": "middle", "offset": 6},
        "params": [X_AXIS],
        "data": {"values": list(values)},
        "transform": [PLACE_ON_AXIS],
        "encoding": {"x": position},
        "layer": list(layers),
    }


def clean(value: float | None, digits: int) -> float | None:
    """A value as JSON holds it, with as many significant digits as a reader may want; NaN is None."""
    return None if value is None or math.isnan(value) else float(f"{value:.{digits}g}")


def _draw_marks(marks: Sequence[Mark], steps: Sequence[int], format: str) -> list[dict[str, Any]]:
    """A line at the epoch of the rule that chooses, and a symbol on the curve for each chosen epoch."""
    if not marks:
        return []
    values = [
        {
            "epoch": mark.epoch,
            "step": steps[mark.epoch - 1],
            "value": clean(mark.value, 6),
            "rules": mark.rules,
            "choice": mark.is_choice,
        }
        for mark in marks
    ]
    data = {"data": {"values": values}}
    shape = {"condition": {"test": "datum.choice", "value": "diamond"}, "value": "circle"}
    fill = {"condition": {"test": "datum.choice", "value": "var(--text)"}, "value": "var(--page)"}
    size = {"condition": {"test": "datum.choice", "value": 90}, "value": 55}
    tooltip = [
        {"field": "rules", "title": "chosen by"},
        {"field": "epoch", "title": "epoch"},
        {"field": "value", "title": "value", "format": format},
    ]
    line = {**data, "transform": [{"filter": "datum.choice"}, PLACE_ON_AXIS], "mark": CHOICE_LINE}
    if all(mark.value is None for mark in marks):
        return [line]
    return [
        line,
        {
            **data,
            "transform": [{"filter": "isValid(datum.value)"}, PLACE_ON_AXIS],
            "mark": {"type": "point", "stroke": "var(--text)", "strokeWidth": 1.5, "opacity": 1},
            "encoding": {
                "y": {"field": "value", "type": "quantitative"},
                "shape": shape,
                "fill": fill,
                "size": size,
                "tooltip": tooltip,
            },
        },
    ]


def _draw_hover(names: Sequence[str], format: str) -> dict[str, Any]:
    """A line at the epoch under the pointer, which shows the values of all curves there."""
    select = {"type": "point", "fields": ["epoch"], "nearest": True, "on": "pointerover", "clear": "pointerout"}
    fields = [{"field": name, "type": "quantitative", "format": format} for name in names]
    steps = [{"field": name, "type": "quantitative", "format": ",d"} for name in ("epoch", "step")]
    return {
        "transform": [{"pivot": "series", "value": "value", "groupby": ["epoch", "step", "x"]}],
        "mark": {"type": "rule", "color": "var(--muted)"},
        "params": [{"name": "hover", "select": select}],
        "encoding": {
            "opacity": {"condition": {"param": "hover", "empty": False, "value": 0.6}, "value": 0},
            "tooltip": [*steps, *fields],
        },
    }
