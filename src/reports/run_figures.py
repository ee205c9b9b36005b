"""The figures of one run: its overview, what each rule reads, the alignments of single samples (the paper's Fig. 4),
and GWA computed in other ways: other estimators (Fig. 6), other layers (Fig. 7), without the kurtosis (Fig. 9).

Clean labels only sort samples here, after training.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gwa import RULES
from reports import style
from reports.judging import choose_epoch
from reports.rule_signals import SIGNALS, read_signal
from training.run.reader import FinishedRun, load_array

BINS = 80


def draw_run(run: FinishedRun) -> dict[str, Figure]:
    """The figures that the records of a run allow, by file name."""
    figures = {
        "run": draw_overview(run),
        "signals": draw_signals(run),
        "alignments": draw_alignments(run),
        "estimators": draw_estimators(run),
        "layers": draw_layers(run),
        "kurtosis": draw_kurtosis(run),
    }
    return {name: figure for name, figure in figures.items() if figure}


def draw_overview(run: FinishedRun) -> Figure:
    """GWA and accuracies by epoch and, where clean labels are known, the scores at the chosen epoch."""
    chosen = run.summary["rules"][run.summary["chosen_by"]]["epoch"]
    wrong = find_wrong_labels(run)
    figure, axes = style.make_panels(1 if wrong is None or chosen is None else 2, columns=2, width=5.2, height=3.6)
    _draw_epochs(axes[0], run, chosen)
    if wrong is not None and chosen is not None:
        _draw_histogram(axes[1], np.asarray(run.load_scores()[chosen - 1]), wrong, chosen)
    return figure


def _draw_epochs(axes: Axes, run: FinishedRun, chosen: int | None) -> None:
    """GWA on the left axis, accuracies on the right one."""
    epochs = style.number_epochs(run)
    right = axes.twinx()
    for field, label, dash in (("test_accuracy", "test accuracy", "-"), ("train_accuracy", "training accuracy", ":")):
        if _has_values(run.values(field)):
            right.plot(epochs, run.values(field), color=style.GREY, linestyle=dash, label=label)
    axes.plot(epochs, run.values("gwa"), color=style.BLUE, label="GWA")
    if chosen is not None:
        axes.axvline(
            chosen, color=style.BLUE, linestyle="--", linewidth=1, label=f"chosen by {run.summary['chosen_by']}"
        )
    best = run.summary["best_on_test"]["epoch"]
    if best is not None:
        right.plot(best, run.values("test_accuracy")[best - 1], "o", color=style.ORANGE, label="best on test")
    axes.set(xlabel="epoch", ylabel="GWA")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.label.set_color(style.BLUE)
    right.set(ylabel="accuracy", ylim=(0, 1.02))
    handles = [*axes.get_legend_handles_labels()[0], *right.get_legend_handles_labels()[0]]
    style.raise_above(axes, right)
    axes.legend(handles=handles, loc="lower right", framealpha=1)


def _draw_histogram(axes: Axes, scores: np.ndarray, wrong: np.ndarray, epoch: int) -> None:
    """Histograms of the alignments of samples with right and with wrong labels."""
    seen = ~np.isnan(scores)  # images that were skipped have no score
    bins = np.linspace(scores[seen].min(), scores[seen].max(), 60).tolist()
    for part, color, hatch, label in ((~wrong, style.BLUE, None, "right"), (wrong, style.ORANGE, "///", "wrong")):
        label = f"label {label} ({np.sum(part & seen)})"
        axes.hist(scores[part & seen], bins=bins, color=color, alpha=0.7, hatch=hatch, label=label)
    axes.set(xlabel=f"alignment in epoch {epoch}", ylabel="training samples")
    axes.legend()


def draw_signals(run: FinishedRun) -> Figure:
    """A panel of accuracies, and one for each signal of the run with the choices of the rules that read it."""
    signals = {field: values for field in SIGNALS if _has_values(values := read_signal(run, field))}
    figure, axes = style.make_panels(1 + len(signals), columns=3)
    _draw_accuracies(axes[0], run)
    for panel, (field, values) in zip(axes[1:], signals.items(), strict=True):
        style.draw_test_accuracy(panel, run)
        panel.plot(style.number_epochs(run), values, color=style.BLUE)
        rules = [name for name, rule in RULES.items() if rule.needs[0] == field]
        for i, (name, line) in enumerate(zip(rules, style.LINES, strict=False)):
            style.mark(panel, RULES[name]().select(run.history), values, line, name, hollow=i > 0)
        panel.set(xlabel="epoch", title=SIGNALS[field])
        style.put_legend_below(panel)
    figure.suptitle(f"{run.name}: what each rule reads, and the epoch it keeps", fontsize=10)
    return figure


def _draw_accuracies(axes: Axes, run: FinishedRun) -> None:
    fields = {"test_accuracy": "test", "val_accuracy": "validation", "train_accuracy": "training"}
    test = [100 * value for value in run.values("test_accuracy")]
    lines = (style.GREY, "-", ""), *style.LINES[2:]
    for (field, label), (color, dash, _) in zip(fields.items(), lines, strict=False):
        values = [100 * value for value in run.values(field)]
        if _has_values(values):
            axes.plot(style.number_epochs(run), values, color=color, linestyle=dash, label=label)
    for rule, line in zip(("oracle", "last"), style.LINES, strict=False):
        style.mark(axes, RULES[rule]().select(run.history), test, line, rule)
    axes.set(xlabel="epoch", ylabel="accuracy in %", title="accuracies")
    style.put_legend_below(axes)


def draw_alignments(run: FinishedRun) -> Figure | None:
    """Histograms of all epochs side by side, as a heat map; None where the work directory holds no scores."""
    if not (run.workdir / "scores.npy").exists():
        return None
    scores = run.load_scores()
    wrong = find_wrong_labels(run)
    parts = {"all samples": np.ones(scores.shape[1], bool)}
    if wrong is not None and wrong.any():
        parts = {"right labels": ~wrong, "wrong labels": wrong}
    limits = float(np.nanmin(scores)), float(np.nanmax(scores))
    figure, axes = style.make_panels(len(parts), columns=2, width=4.4, height=3.2)
    for panel, (label, part) in zip(axes, parts.items(), strict=True):
        counts = np.stack([np.histogram(epoch[part], bins=BINS, range=limits)[0] for epoch in scores])
        shares = counts / counts.sum(axis=1, keepdims=True)  # of the samples that have a score
        image = panel.imshow(
            np.where(shares > 0, 100 * shares, np.nan).T,
            extent=(0.5, len(scores) + 0.5, *limits),
            origin="lower",
            aspect="auto",
            norm=LogNorm(0.05, 50),
            interpolation="nearest",
        )
        means = [np.nanmean(epoch[part]) for epoch in scores]
        panel.plot(style.number_epochs(run), means, color="white", linewidth=3)
        panel.plot(style.number_epochs(run), means, color="black", label="mean")
        panel.set(xlabel="epoch", ylabel="alignment", title=f"{label} ({part.sum()})")
        panel.legend(loc="lower right", framealpha=1)
    bar = figure.colorbar(image, ax=axes, label=f"% of the samples, in each of {BINS} bins")
    bar.ax.yaxis.set_major_formatter("{x:g}")
    return figure


def draw_estimators(run: FinishedRun) -> Figure | None:
    """GWA of the online estimator and of others by epoch, and their differences; None where there are no others."""
    others = {name: values for name, values in _read_estimates(run).items() if not _is_layer(name)}
    if not others:
        return None
    figure, axes = style.make_panels(2, columns=2, width=4.4, height=3.2)
    epochs, online = style.number_epochs(run), run.values("gwa")
    style.draw_test_accuracy(axes[0], run)
    for i, ((name, values), line) in enumerate(zip({"online": online, **others}.items(), style.LINES, strict=False)):
        axes[0].plot(epochs, values, color=line[0], linestyle=line[1])
        style.mark(axes[0], choose_epoch(run.history, values), values, line, f"{name}, maximum", hollow=i > 0)
        if name != "online":
            differences = [first - second for first, second in zip(online, values, strict=True)]
            axes[1].plot(epochs, differences, color=line[0], linestyle=line[1], label=f"online − {name}")
    axes[1].axhline(0, color="black", linewidth=0.6)
    axes[0].set(xlabel="epoch", ylabel="GWA", title="estimators of GWA")
    axes[1].set(xlabel="epoch", ylabel="difference in GWA", title="difference to the online estimator")
    for panel in axes:
        style.put_legend_below(panel)
    return figure


def draw_layers(run: FinishedRun) -> Figure | None:
    """GWA at the head, at other layers and over the full network by epoch; None where only the head was scored."""
    layers = {name.removeprefix("layers/"): values for name, values in _read_estimates(run).items() if _is_layer(name)}
    if not layers:
        return None
    curves = {"head": run.values("gwa"), **layers}
    figure, axes = style.make_panels(len(curves), columns=3)
    for panel, (name, values), line in zip(axes, curves.items(), itertools.cycle(style.LINES), strict=False):
        style.draw_test_accuracy(panel, run)
        panel.plot(style.number_epochs(run), values, color=line[0])
        style.mark(panel, choose_epoch(run.history, values), values, line, "maximum after warm-up")
        panel.set(xlabel="epoch", ylabel="GWA", title=name)
        style.put_legend_below(panel)
    return figure


def draw_kurtosis(run: FinishedRun) -> Figure:
    """GWA and the plain mean of the alignments, each with the epoch of its maximum, and the excess kurtosis."""
    fields = {
        "gwa": "GWA: mean / (excess kurtosis + 1.2)",
        "alignment_mean": "mean alignment",
        "excess_kurtosis": "excess kurtosis",
    }
    figure, axes = style.make_panels(3, columns=3, height=3.0)
    for panel, (field, title), line in zip(axes, fields.items(), style.LINES, strict=False):
        values = run.values(field)
        style.draw_test_accuracy(panel, run)
        panel.plot(style.number_epochs(run), values, color=line[0])
        if field != "excess_kurtosis":
            style.mark(panel, choose_epoch(run.history, values), values, line, "maximum after warm-up")
            style.put_legend_below(panel)
        panel.set(xlabel="epoch", title=title)
    return figure


def find_wrong_labels(run: FinishedRun) -> np.ndarray | None:
    """Which labels are wrong, bool `[N]`; None where clean labels are unknown or the arrays were not kept."""
    if not all((run.workdir / name).exists() for name in ("labels.npz", "scores.npy")):
        return None
    labels = load_array(run.workdir, "labels.npz")
    return labels["labels"] != labels["clean_labels"] if "clean_labels" in labels else None


def _has_values(values: Sequence[float]) -> bool:
    return not all(math.isnan(value) for value in values)


def _read_estimates(run: FinishedRun) -> Mapping[str, list[float]]:
    """GWA by epoch of each further estimate in the records; NaN where it was not taken."""
    estimates = [record.get("estimates") or {} for record in run.history]
    values = {name: [each.get(name, {}).get("gwa") for each in estimates] for each in estimates for name in each}
    return {name: [math.nan if gwa is None else gwa for gwa in column] for name, column in values.items()}


def _is_layer(name: str) -> bool:
    return name == "full" or name.startswith("layers/")
