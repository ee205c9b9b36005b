"""The charts of what training recorded by epoch: losses, accuracies, GWA, and the signal of each rule of the run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from reports.rule_signals import SIGNALS, read_signal
from reports.run_page.charts import Chart, Mark, draw_curves
from reports.run_page.recorded import RecordedRun

_SPLITS = {"train": "training", "val": "validation", "test": "test", "ema_val": "validation, averaged parameters"}
_SPLITS |= {"ema_test": "test, averaged parameters"}
_SHOWN = ("gwa", "alignment_mean")  # whatever the rules of the run read


def draw_history(recorded: RecordedRun) -> list[Chart]:
    """One chart for each of the losses, the accuracies, GWA, the mean alignment and the rules' other signals."""
    accuracies, losses = _read_splits(recorded, "accuracy", 100), _read_splits(recorded, "loss", 1)
    everyone = list(recorded.run.summary["rules"])
    judged = next((accuracies[name] for name in ("test", "validation", "training") if name in accuracies), [])
    charts = [
        _draw(recorded, "accuracies", "Accuracy in %", accuracies, everyone, judged, ".2f"),
        _draw(recorded, "losses", "Loss", losses, [recorded.chosen_by], [], ".4f"),
    ]
    for field, readers in _list_signals(recorded).items():
        values = read_signal(recorded.run, field)
        title = _name_signal(field)
        charts.append(_draw(recorded, f"signal-{len(charts)}", title, {"value": values}, readers, values, ".4~g"))
    return [chart for chart in charts if chart]


def list_steps(recorded: RecordedRun) -> list[int]:
    """The step at the end of each epoch; 0 in records that do not say it."""
    return [record.get("step", 0) for record in recorded.run.history]


def mark_choices(recorded: RecordedRun, rules: Iterable[str], values: Sequence[float]) -> list[Mark]:
    """A mark for each epoch that one of the rules, or the one that chooses, has chosen, on a curve of these values."""
    by_epoch: dict[int, list[str]] = {}
    for rule in dict.fromkeys([recorded.chosen_by, *rules]):
        epoch = recorded.run.summary["rules"][rule]["epoch"]
        if epoch is not None:
            by_epoch.setdefault(epoch, []).append(rule)
    return [
        Mark(", ".join(names), epoch, values[epoch - 1] if values else None, recorded.chosen_by in names)
        for epoch, names in sorted(by_epoch.items())
    ]


def _draw(
    recorded: RecordedRun,
    name: str,
    title: str,
    series: Mapping[str, Sequence[float]],
    rules: Iterable[str],
    marked: Sequence[float],
    format: str,
) -> Chart | None:
    """A chart of the series that have values, with the choices of these rules on the curve `marked`."""
    series = {label: values for label, values in series.items() if not all(map(math.isnan, values))}
    if not series:
        return None
    spec = draw_curves(list_steps(recorded), series, mark_choices(recorded, rules, marked), format)
    return Chart(name, title, f"{title} by epoch: {_describe(series)}.", spec)


def _describe(series: Mapping[str, Sequence[float]]) -> str:
    """The first and the last value of each curve, in words."""
    parts = []
    for label, values in series.items():
        known = [(i + 1, value) for i, value in enumerate(values) if not math.isnan(value)]
        (first, start), (last, end) = known[0], known[-1]
        parts.append(f"{label} {start:.4g} in epoch {first}, {end:.4g} in epoch {last}")
    return "; ".join(parts)


def _read_splits(recorded: RecordedRun, what: str, factor: float) -> dict[str, list[float]]:
    columns = {label: recorded.run.values(f"{split}_{what}") for split, label in _SPLITS.items()}
    return {
        label: [factor * value for value in values]
        for label, values in columns.items()
        if not all(map(math.isnan, values))
    }


def _list_signals(recorded: RecordedRun) -> dict[str, list[str]]:
    """The fields to draw, GWA and the mean alignment first, with the names of the rules that read each."""
    readers: dict[str, list[str]] = {field: [] for field in _SHOWN}
    for name, rule in recorded.rules.items():
        field = rule.needs[0]
        if field not in ("epoch", "test_accuracy", "val_accuracy", "val_loss", "train_loss"):  # drawn already
            readers.setdefault(field, []).append(name)
    return readers


def _name_signal(field: str) -> str:
    title = {"alignment_mean": "mean alignment", **SIGNALS}.get(field, field.replace("_", " "))
    return title[0].upper() + title[1:]
