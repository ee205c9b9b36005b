"""The alignments of single samples: by epoch, and rightly against wrongly labelled ones (as in the paper's Fig. 4).

Clean labels only sort the samples here, after training.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from reports.figures.style import BLUE, GREY, ORANGE, panels
from training.run.reader import FinishedRun

BINS = 80


def draw_overview(run: FinishedRun) -> Figure:
    """GWA and accuracies by epoch and, where clean labels are known, the scores at the chosen epoch."""
    chosen = _chosen(run)
    wrong = _wrong(run)
    figure, axes = panels(1 if wrong is None or chosen is None else 2, columns=2, width=5.2, height=3.6)
    _draw_epochs(axes[0], run, chosen)
    if wrong is not None and chosen is not None:
        scores = np.asarray(np.load(run.workdir / "scores.npy", mmap_mode="r")[chosen - 1])
        _draw_histogram(axes[1], scores, wrong, chosen)
    return figure


def draw_alignments(run: FinishedRun) -> Figure | None:
    """Histograms of all epochs side by side, as a heat map; None where the work directory holds no scores."""
    path = run.workdir / "scores.npy"
    if not path.exists():
        return None
    scores = np.load(path, mmap_mode="r")
    wrong = _wrong(run)
    parts = {"all samples": np.ones(scores.shape[1], bool)}
    if wrong is not None and wrong.any():
        parts = {"rightly labelled": ~wrong, "wrongly labelled": wrong}
    limits = float(scores.min()), float(scores.max())
    figure, axes = panels(len(parts), columns=2, width=4.4, height=3.2)
    for panel, (label, part) in zip(axes, parts.items(), strict=True):
        shares = np.stack([np.histogram(epoch[part], bins=BINS, range=limits)[0] for epoch in scores]) / part.sum()
        image = panel.imshow(
            np.where(shares > 0, 100 * shares, np.nan).T,
            extent=(0.5, len(scores) + 0.5, *limits),
            origin="lower",
            aspect="auto",
            norm=LogNorm(0.05, 50),
            interpolation="nearest",
        )
        means = [epoch[part].mean() for epoch in scores]
        panel.plot(np.arange(1, len(scores) + 1), means, color="white", linewidth=3)
        panel.plot(np.arange(1, len(scores) + 1), means, color="black", label="mean")
        panel.set(xlabel="epoch", ylabel="alignment", title=f"{label} ({part.sum()})")
        panel.legend(loc="lower right", framealpha=1)
    bar = figure.colorbar(image, ax=axes, label=f"% of the samples, in each of {BINS} bins")
    bar.ax.yaxis.set_major_formatter("{x:g}")
    return figure


def _draw_epochs(axes: Axes, run: FinishedRun, chosen: int | None) -> None:
    """GWA on the left axis, accuracies on the right one."""
    epochs = [record["epoch"] for record in run.history]
    right = axes.twinx()
    for field, label, style in (("test_accuracy", "test accuracy", "-"), ("train_accuracy", "training accuracy", ":")):
        right.plot(epochs, run.values(field), color=GREY, linestyle=style, label=label)
    axes.plot(epochs, run.values("gwa"), color=BLUE, label="GWA")
    if chosen is not None:
        axes.axvline(chosen, color=BLUE, linestyle="--", linewidth=1, label=f"chosen by {run.summary['chosen_by']}")
    best = run.summary["best_on_test"]["epoch"]
    if best is not None:
        right.plot(best, run.values("test_accuracy")[best - 1], "o", color=ORANGE, label="best on test")
    axes.set(xlabel="epoch", ylabel="GWA")
    axes.yaxis.label.set_color(BLUE)
    right.set(ylabel="accuracy", ylim=(0, 1.02))
    handles = [*axes.get_legend_handles_labels()[0], *right.get_legend_handles_labels()[0]]
    axes.set_zorder(right.get_zorder() + 1)
    axes.patch.set_visible(False)
    axes.legend(handles=handles, loc="lower right", framealpha=1)


def _draw_histogram(axes: Axes, scores: np.ndarray, wrong: np.ndarray, epoch: int) -> None:
    """Histograms of the alignments of rightly and of wrongly labelled samples."""
    bins = np.linspace(scores.min(), scores.max(), 60).tolist()
    for part, color, hatch, label in ((~wrong, BLUE, None, "right"), (wrong, ORANGE, "///", "wrong")):
        label = f"label {label} ({part.sum()})"
        axes.hist(scores[part], bins=bins, color=color, alpha=0.7, hatch=hatch, label=label)
    axes.set(xlabel=f"alignment in epoch {epoch}", ylabel="training samples")
    axes.legend()


def _chosen(run: FinishedRun) -> int | None:
    return run.summary["rules"][run.summary["chosen_by"]]["epoch"]


def _wrong(run: FinishedRun) -> np.ndarray | None:
    """Which labels are wrong, `[N]`; None where clean labels are unknown or the arrays were not kept."""
    path = run.workdir / "labels.npz"
    if not path.exists() or not (run.workdir / "scores.npy").exists():
        return None
    labels = np.load(path)
    return labels["labels"] != labels["clean_labels"] if "clean_labels" in labels else None
