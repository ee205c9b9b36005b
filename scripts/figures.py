"""Draws a finished run: its scores and accuracies by epoch, and how well single scores tell wrong labels.

uv run scripts/figures.py runs/digits [--output digits.png]
"""

import argparse
import json
import pathlib
import sys
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

BLUE, ORANGE, GREY = "#2a6f97", "#e07a1f", "#777777"


def main() -> None:
    """Reads the work directory and writes the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workdir", type=pathlib.Path)
    parser.add_argument("--output", type=pathlib.Path, help="WORKDIR/figures/run.png by default; its ending decides")
    arguments = parser.parse_args()
    if not (arguments.workdir / "summary.json").exists():
        print(f"figures.py: {arguments.workdir} holds no finished run", file=sys.stderr)
        sys.exit(2)
    output = arguments.output or arguments.workdir / "figures" / "run.png"
    output.parent.mkdir(parents=True, exist_ok=True)
    figure(arguments.workdir).savefig(output, dpi=150)
    print(output)


def figure(workdir: pathlib.Path) -> plt.Figure:
    """Two panels: the run by epoch and, where clean labels are known, its scores at the chosen epoch."""
    history = [json.loads(line) for line in (workdir / "history.jsonl").read_text().splitlines()]
    summary = json.loads((workdir / "summary.json").read_text())
    labels = np.load(workdir / "labels.npz")
    chosen = summary["rules"][summary["chosen_by"]]["epoch"]
    with_scores = "clean_labels" in labels and chosen is not None
    drawing, axes = plt.subplots(
        1, 1 + with_scores, figsize=(5.2 * (1 + with_scores), 3.6), layout="constrained", squeeze=False
    )
    draw_epochs(axes[0, 0], history, summary, chosen)
    if with_scores:
        scores = np.load(workdir / "scores.npy", mmap_mode="r")[chosen - 1]
        draw_scores(axes[0, 1], np.asarray(scores), labels["labels"] != labels["clean_labels"], chosen)
    return drawing


def draw_epochs(axes: Axes, history: list[dict[str, Any]], summary: dict[str, Any], chosen: int | None) -> None:
    """GWA on the left axis, accuracies on the right one."""
    epochs = [record["epoch"] for record in history]
    right = axes.twinx()
    accuracies = (("test_accuracy", "test accuracy", "-"), ("train_accuracy", "training accuracy", ":"))
    for field, label, style in accuracies:
        values = [np.nan if record[field] is None else record[field] for record in history]
        right.plot(epochs, values, color=GREY, linestyle=style, label=label)
    axes.plot(epochs, [np.nan if r["gwa"] is None else r["gwa"] for r in history], color=BLUE, label="GWA")
    if chosen is not None:
        axes.axvline(chosen, color=BLUE, linestyle="--", linewidth=1, label=f"chosen by {summary['chosen_by']}")
    best = summary["best_on_test"]["epoch"]
    if best is not None:
        right.plot(best, history[best - 1]["test_accuracy"], "o", color=ORANGE, label="best on test")
    axes.set(xlabel="epoch", ylabel="GWA")
    axes.yaxis.label.set_color(BLUE)
    right.set(ylabel="accuracy", ylim=(0, 1.02))
    handles = [*axes.get_legend_handles_labels()[0], *right.get_legend_handles_labels()[0]]
    axes.set_zorder(right.get_zorder() + 1)
    axes.patch.set_visible(False)
    axes.legend(handles=handles, fontsize=8, loc="lower right")


def draw_scores(axes: Axes, scores: np.ndarray, wrong: np.ndarray, chosen: int) -> None:
    """Histograms of the alignments of rightly and of wrongly labelled samples."""
    bins = np.linspace(scores.min(), scores.max(), 60).tolist()
    for part, color, label in ((~wrong, BLUE, "right"), (wrong, ORANGE, "wrong")):
        axes.hist(scores[part], bins=bins, color=color, alpha=0.7, label=f"label {label} ({part.sum()})")
    axes.set(xlabel=f"alignment in epoch {chosen}", ylabel="training samples")
    axes.legend(fontsize=8)


if __name__ == "__main__":
    main()
