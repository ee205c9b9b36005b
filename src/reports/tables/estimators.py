"""The bias of the online estimator by learning rate, beside the paper's (appendix A.1, Fig. 6)."""

from __future__ import annotations

from collections.abc import Sequence

from reports import paper
from reports.judging import Mean
from reports.tables.layout import Cell, Line, Table
from training.run.reader import FinishedRun, read_derived, runs_by_cell

FIGURES = {
    "mean_of_epoch": "mean score, mean",
    "max_of_epoch": "mean score, largest",
    "mean_of_samples": "single scores, mean",
    "max_of_samples": "single scores, largest",
}

TEXT = """How far the scores that training takes online lie from those at the parameters of the start of the epoch, or \
from the mean of those at its start and its end, which stands for its middle: |difference| of the epoch's mean score, \
its mean and its largest over the epochs, and |difference| of a sample's score, its mean over samples and epochs and \
its largest epoch. On digits, by SGD; in units of the score, mean ± standard deviation (number of seeds) [the paper's \
value, ours minus it]. The paper does not say of which of the two its mean and maximum are; they stand beside the \
second. The paper's values are second-hand. From `uv run scripts/estimator_bias.py runs/estimators`."""


def estimators(runs: Sequence[FinishedRun]) -> list[Table]:
    """Two rows per learning rate; nothing where no run has a bias.json."""
    biases: dict[float, list[dict]] = {}
    for cell, run in runs_by_cell(runs, "estimators"):
        if bias := read_derived(run, "bias.json"):
            biases.setdefault(cell["learning_rate"], []).append(bias)
    lines: list[Line] = []
    for rate, part in biases.items():
        for reference in ("start", "middle"):
            cells = (
                Cell(Mean.of(bias[reference][name] for bias in part), _published(rate, reference, name))
                for name in FIGURES
            )
            lines.append((f"{rate:g}", reference, *cells))
    columns = ("learning rate", "against", *FIGURES.values())
    title = "Bias of the online estimator"
    return [Table("estimators", title, TEXT, columns, tuple(lines), labels=2, decimals=4)] if lines else []


def _published(rate: float, reference: str, name: str) -> paper.Published | None:
    statistic = {"mean_of_samples": "mean", "max_of_samples": "max"}.get(name)
    if reference != "start" or statistic is None:
        return None
    return paper.ESTIMATOR_BIAS.get((rate, statistic))
