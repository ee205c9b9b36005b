"""The distribution of the alignments in each epoch, as a heat map, with both peaks where an epoch has two."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from reports.run_page.charts import CHOICE_LINE, PLACE_ON_AXIS, Chart, clean, put_over_epochs
from reports.run_page.curves import list_steps, mark_choices
from reports.run_page.recorded import RecordedRun
from training.signals import is_bimodal

BINS = 48
MOST_COLUMNS = 120  # epochs of a longer run are thinned out, so that the page stays small
_SMOOTHING = np.array([1, 4, 6, 4, 1]) / 16  # over neighbouring bins, before peaks are sought
_LEAST_SHARE = 0.0005  # a bin with fewer of the samples is left blank


def draw_distributions(recorded: RecordedRun) -> Chart | None:
    """The heat map; None where the work directory holds no alignments."""
    samples = recorded.samples
    if samples is None or samples.alignments is None:
        return None
    columns_by_epoch = {
        epoch: column
        for epoch in choose_epochs(len(samples.alignments), recorded.choice["epoch"])
        if len(column := _keep_seen(np.asarray(samples.alignments[epoch - 1])))
    }
    if not columns_by_epoch:
        return None
    epochs, columns = [*columns_by_epoch], [*columns_by_epoch.values()]
    limits = min(float(column.min()) for column in columns), max(float(column.max()) for column in columns)
    counts = [np.histogram(column, bins=BINS, range=limits)[0] for column in columns]
    edges = np.linspace(*_widen(limits), BINS + 1)
    modes = {
        epoch: find_modes(count, edges)
        for epoch, count in zip(epochs, counts, strict=True)
        if is_bimodal(recorded.run.history[epoch - 1])
    }
    means = {epoch: float(column.mean()) for epoch, column in zip(epochs, columns, strict=True)}
    first, last = epochs[0], epochs[-1]
    description = (
        f"Distribution of the alignments by epoch, as a heat map. The mean is {means[first]:.3f} in epoch {first} and "
        f"{means[last]:.3f} in epoch {last}. "
        + (f"{len(modes)} of the epochs shown have two peaks." if modes else "No epoch has two pronounced peaks.")
    )
    steps = list_steps(recorded)

    def point(epoch: int, value: float | None = None) -> dict[str, Any]:
        return {"epoch": epoch, "step": steps[epoch - 1], "value": clean(value, 4)}

    lines = [point(epoch, means[epoch]) for epoch in epochs]
    peaks = [point(epoch, value) for epoch, pair in modes.items() for value in pair or ()]
    choices = [point(mark.epoch) for mark in mark_choices(recorded, [], [])]
    layers = [_draw_cells(_place_cells(epochs, counts, edges), steps[0]), *_draw_lines(lines, peaks, choices)]
    spec = put_over_epochs(layers, lines, len(steps)) | {"height": 260}
    return Chart("distributions", "Alignments of all training samples", description, spec)


def choose_epochs(count: int, chosen: int | None) -> list[int]:
    """All epochs from 1 to `count` or, of many, evenly spaced ones with the first, the last and the chosen one."""
    epochs = {round(epoch) for epoch in np.linspace(1, count, min(count, MOST_COLUMNS))}
    return sorted(epochs | ({chosen} if chosen else set()))


def find_modes(counts: np.ndarray, edges: np.ndarray) -> tuple[float, float] | None:
    """The middles of the two main peaks of a histogram, counts `[bins]`; None where it has but one.

    They are the highest peak of the smoothed counts, and the one that rises most above the valley in between.
    """
    smooth = np.convolve(np.pad(counts, 1), _SMOOTHING, "same")
    peaks = np.flatnonzero((smooth[1:-1] > smooth[:-2]) & (smooth[1:-1] >= smooth[2:])) + 1
    highest = peaks[np.argmax(smooth[peaks])]
    rises = [smooth[peak] - smooth[min(peak, highest) : max(peak, highest) + 1].min() for peak in peaks]
    if not any(rises):
        return None
    bins = np.sort([highest, peaks[np.argmax(rises)]]) - 1
    low, high = (edges[bins] + edges[bins + 1]) / 2
    return float(low), float(high)


def _keep_seen(alignments: np.ndarray) -> np.ndarray:
    """The alignments that are numbers; those of skipped images are not."""
    return alignments[~np.isnan(alignments)]


def _widen(limits: tuple[float, float]) -> tuple[float, float]:
    """As NumPy widens limits that are equal."""
    low, high = limits
    return (low - 0.5, high + 0.5) if low == high else limits


def _place_cells(epochs: Sequence[int], counts: Sequence[np.ndarray], edges: np.ndarray) -> list[dict[str, Any]]:
    """The rectangles of the heat map. A column reaches half-way to its neighbours."""
    borders = [0.5, *((a + b) / 2 for a, b in itertools.pairwise(epochs)), epochs[-1] + 0.5]
    return [
        {
            "epoch": epoch,
            "from": borders[i],
            "to": borders[i + 1],
            "low": clean(edges[j], 4),
            "high": clean(edges[j + 1], 4),
            "share": clean(count[j] / count.sum(), 3),
        }
        for i, (epoch, count) in enumerate(zip(epochs, counts, strict=True))
        for j in np.flatnonzero(count >= _LEAST_SHARE * count.sum())
    ]


def _draw_cells(cells: Sequence[dict[str, Any]], steps_per_epoch: int) -> dict[str, Any]:
    """One colour in many opacities, which is legible on a light and on a dark page."""
    scale = f"(x_axis === 'step' ? {steps_per_epoch} : 1)"
    y = {"field": "low", "type": "quantitative", "title": None, "scale": {"zero": False, "nice": False}}
    shade = {"type": "sqrt", "range": [0.04, 1]}
    bounds = ({"field": "low", "title": "alignment from"}, {"field": "high", "title": "to"})
    share = {"field": "share", "title": "share of the samples", "format": ".2%"}
    return {
        "data": {"values": cells},
        "transform": [
            {"calculate": f"datum.from * {scale}", "as": "x"},
            {"calculate": f"datum.to * {scale}", "as": "x2"},
        ],
        "mark": {"type": "rect", "color": "var(--series-1)", "stroke": None},
        "encoding": {
            "x2": {"field": "x2"},
            "y": y,
            "y2": {"field": "high"},
            "opacity": {"field": "share", "type": "quantitative", "scale": shade, "legend": None},
            "tooltip": [{"field": "epoch"}, *({**bound, "format": ".3f"} for bound in bounds), share],
        },
    }


def _draw_lines(
    means: Sequence[dict[str, Any]], modes: Sequence[dict[str, Any]], choices: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The mean over the heat map, both peaks where there are two, and the chosen epoch."""
    y = {"y": {"field": "value", "type": "quantitative"}}
    mean = {"type": "line", "color": "var(--text)", "strokeWidth": 1.5}
    mean["point"] = {"size": 60, "color": "var(--text)"} if len(means) == 1 else False
    peak = {"type": "point", "shape": "triangle-right", "size": 45, "opacity": 1}
    peak |= {"fill": "var(--series-2)", "stroke": "var(--page)", "strokeWidth": 0.7}
    layers: list[dict[str, Any]] = [
        {"mark": {"type": "line", "color": "var(--page)", "strokeWidth": 4}, "encoding": y},
        {"mark": mean, "encoding": y},
    ]
    if modes:
        data = {"data": {"values": modes}, "transform": [PLACE_ON_AXIS]}
        layers.append({**data, "mark": peak, "encoding": y})
    if choices:
        layers.append({"data": {"values": choices}, "transform": [PLACE_ON_AXIS], "mark": CHOICE_LINE})
    return layers
