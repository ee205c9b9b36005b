"""The bias of the online estimator: how far its scores, taken while the parameters move, lie from those at fixed ones.

The paper (appendix A.1, Fig. 6) gives a mean and a maximum against the parameters at the start of an epoch, without
saying what they are taken over. Both readings are here: of the epoch's mean score, and of single samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from errors import UserError
from reports import paper
from reports.judging import Mean
from reports.layout import Cell, Line, Table
from reports.sweep_runs import find_sweep_runs
from training.run.durable import write_json
from training.run.reader import FinishedRun, read_derived

STATISTICS = {
    "mean_of_epoch": "mean score, mean",
    "max_of_epoch": "mean score, largest",
    "mean_of_samples": "single scores, mean",
    "max_of_samples": "single scores, largest",
}
"""What is computed for each reference, and its column in the table."""

TEXT = """How far the scores that training takes online lie from those at the parameters of the start of the epoch, or \
from the mean of those at its start and its end, which stands for its middle: |difference| of the epoch's mean score, \
its mean and its largest over the epochs, and |difference| of a sample's score, its mean over samples and epochs and \
its largest epoch. On digits, by SGD; in units of the score, mean ± standard deviation (number of seeds) [the paper's \
value, ours minus it]. The paper does not say which of the two its mean and maximum describe; they stand beside the \
second. The paper's values are second-hand. From `uv run scripts/estimator_bias.py runs/estimators`."""


def compute_biases(online: np.ndarray, offline: np.ndarray) -> dict[str, dict[str, float]]:
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
    differences: dict[str, list[tuple[float, float]]] = {"start": [], "middle": []}
    for scores, start, end in zip(online[1:], offline[:-1], offline[1:], strict=True):
        scores, start, end = (row.astype(np.float64) for row in (scores, start, end))
        for reference, row in (("start", start), ("middle", (start + end) / 2)):
            difference = scores - row
            differences[reference].append((abs(difference.mean()), np.abs(difference).mean()))
    result = {}
    for reference, pairs in differences.items():
        of_epoch, of_samples = np.array(pairs).T
        values = of_epoch.mean(), of_epoch.max(), of_samples.mean(), of_samples.max()
        result[reference] = {name: float(value) for name, value in zip(STATISTICS, values, strict=True)}
    return result


def measure_bias(run: FinishedRun) -> dict[str, dict[str, float]]:
    """The biases of a finished run that has recorded the estimator `offline`; written into its bias.json as well.

    Raises:
      UserError: when the run holds no such scores, or augments its images.
    """
    streamed = run.config["dataset"]["feed"] == "stream"  # only then are images cropped to a share of their area
    augmented = [name for name, value in run.config["augment"].items() if value and (name != "crop_area" or streamed)]
    if augmented:
        raise UserError(
            f"{run.workdir} augments its images ({', '.join(augmented)}); the bias is defined only without augmentation"
        )
    result = compute_biases(run.load_scores(), run.load_scores("offline"))
    write_json(run.workdir / "bias.json", result)
    return result


def tabulate_bias(runs: Sequence[FinishedRun]) -> list[Table]:
    """Two rows per learning rate; nothing where no run has a bias.json."""
    biases: dict[float, list[dict]] = {}
    for cell, run in find_sweep_runs(runs, "estimators"):
        if bias := read_derived(run.workdir, "bias.json"):
            biases.setdefault(cell["learning_rate"], []).append(bias)
    lines: list[Line] = []
    for rate, part in biases.items():
        for reference in ("start", "middle"):
            means = {name: Mean.of(bias[reference][name] for bias in part) for name in STATISTICS}
            cells = (Cell(mean, _find_published(rate, reference, name)) for name, mean in means.items())
            lines.append((f"{rate:g}", reference, *cells))
    columns = ("learning rate", "against", *STATISTICS.values())
    title = "Bias of the online estimator"
    return [Table("estimators", title, TEXT, columns, tuple(lines), labels=2, decimals=4)] if lines else []


def _find_published(rate: float, reference: str, name: str) -> paper.Published | None:
    statistic = {"mean_of_samples": "mean", "max_of_samples": "max"}.get(name)
    return paper.ESTIMATOR_BIAS.get((rate, statistic)) if statistic and reference == "start" else None
