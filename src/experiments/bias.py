"""The bias of the online estimator: how far its scores, taken while the parameters move, lie from those at fixed ones.

The paper (appendix A.1, Fig. 6) states a mean and a maximum against the parameters at the start of an epoch, without
saying over what they run. Both readings are here: of the epoch's mean score, and of single samples.
"""

from __future__ import annotations

import json
import pathlib
import statistics
from collections.abc import Iterable
from typing import Any

import numpy as np

from errors import UserError
from experiments.paper import ESTIMATOR_BIAS

REFERENCES = ("start", "middle")


def biases(online: np.ndarray, offline: np.ndarray) -> dict[str, dict[str, float]]:
    """The biases of a run without augmentation and dropout, over all epochs but the first.

    Args:
      online: `[epochs, N]`, the scores that training took in the steps of each epoch.
      offline: `[epochs, N]`, those at the parameters after each epoch, with which the next one starts.

    Returns:
      For the references `start` (parameters at the start of the epoch) and `middle` (mean of the scores at its start
      and its end, which stands for parameters halfway): mean and maximum over the epochs of |difference of the mean
      scores|, `mean_of_epoch`, `max_of_epoch`, and of the samples' mean |difference|, `mean_of_samples`,
      `max_of_samples`.
    """
    differences: dict[str, list[tuple[float, float]]] = {reference: [] for reference in REFERENCES}
    for scores, start, end in zip(online[1:], offline[:-1], offline[1:], strict=True):
        scores, start, end = (row.astype(np.float64) for row in (scores, start, end))
        for reference, row in (("start", start), ("middle", (start + end) / 2)):
            difference = scores - row
            differences[reference].append((abs(difference.mean()), np.abs(difference).mean()))
    result = {}
    for reference, pairs in differences.items():
        of_epoch, of_samples = np.array(pairs).T
        result[reference] = {
            "mean_of_epoch": float(of_epoch.mean()),
            "max_of_epoch": float(of_epoch.max()),
            "mean_of_samples": float(of_samples.mean()),
            "max_of_samples": float(of_samples.max()),
        }
    return result


def of_runs(folder: pathlib.Path) -> list[dict[str, Any]]:
    """Name, learning rate, seed, epochs and biases of every finished run in a folder that has the estimator `offline`.

    Raises:
      UserError: when there is none, or one of them augments its images.
    """
    runs = []
    for workdir in sorted(path.parent for path in folder.glob("*/scores.offline.npy")):
        config = json.loads((workdir / "config.json").read_text())
        if not (workdir / "summary.json").exists():
            continue
        if any(config["augment"].values()):
            raise UserError(f"{workdir} augments its images; offline scores are those of training only without")
        online, offline = (np.load(workdir / name, mmap_mode="r") for name in ("scores.npy", "scores.offline.npy"))
        facts = {"run": workdir.name, "learning_rate": config["optimizer"]["learning_rate"], "seed": config["seed"]}
        runs.append(facts | {"epochs": len(online)} | biases(online, offline))
    if not runs:
        raise UserError(f"{folder} holds no finished run with scores.offline.npy; estimators must name offline")
    return runs


def table(runs: Iterable[dict[str, Any]]) -> list[str]:
    """Markdown, one row per learning rate and reference: mean ± standard deviation over the runs, and the paper's."""
    rows = [
        "| learning rate | n | against | of the epoch's mean: mean | max | of samples: mean | max | paper |",
        "|---|---|---|---|---|---|---|---|",
    ]
    groups: dict[float, list[dict[str, Any]]] = {}
    for run in runs:
        groups.setdefault(run["learning_rate"], []).append(run)
    for rate, group in sorted(groups.items(), reverse=True):
        for reference in REFERENCES:
            figures = [_spread([run[reference][field] for run in group]) for field in group[0][reference]]
            published = [ESTIMATOR_BIAS[rate, name].value for name in ("mean", "max") if (rate, name) in ESTIMATOR_BIAS]
            paper = " / ".join(map(str, published)) if reference == "start" and published else "not stated"
            rows.append(f"| {' | '.join((f'{rate:g}', str(len(group)), reference, *figures, paper))} |")
    return rows


def _spread(values: list[float]) -> str:
    deviation = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{deviation}"
