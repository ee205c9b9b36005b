"""One number for the scores of an epoch: GWA for any β, and what could stand in its place: no kurtosis, robust means.

All of it is computed from stored scores, without training: the aggregates, which epoch the paper's rule chooses by
each, and the tables of what these choices lose.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from gwa import Last, Oracle
from gwa.moment_arithmetic import summarize_alignments
from reports.judging import Mean, choose_epoch
from reports.layout import Cell, Line, Table
from reports.sweep_runs import find_sweep_runs, name_condition
from training.run.durable import write_json
from training.run.reader import FinishedRun, load_array, read_derived

TRIM = 0.1  # share of the scores that the trimmed mean leaves out at each end

SWEEPS = {"table1_small": "10,000 images of CIFAR-10", "beta": "digits"}

TEXT = """Test accuracy that is lost, against the best epoch of the same run, where the paper's rule maximises another \
aggregate of the scores than GWA, in percentage points: mean ± standard error (number of runs). `uv run \
scripts/ablate.py runs/<sweep>` makes the choices from stored scores, without training."""

Choices = Mapping[str, Mapping[str, Any]]
"""By aggregate, and by the rules `last` and `oracle`: the chosen `epoch` and its `test_accuracy`, None if unknown."""


def aggregate(scores: Iterable[np.ndarray], betas: Iterable[float]) -> dict[str, np.ndarray]:
    """Every aggregate of every epoch, one epoch at a time, in float64.

    Args:
      scores: of each epoch `[N]`, such as a memory-mapped `scores.npy`.
      betas: the offsets β of GWA = mean / (excess kurtosis + β); all of them come from one pass.

    Returns:
      By name, `[epochs]`; NaN where an aggregate is not defined.
    """
    epochs = []
    for row in scores:
        summary = summarize_alignments(row)
        epochs.append((summary["alignment_mean"], summary["excess_kurtosis"], *_median_and_trimmed_mean(row)))
    mean, kurtosis, median, trimmed = np.array(epochs).reshape(-1, 4).T
    return {
        **{f"GWA, β = {beta:g}": _gwa(mean, kurtosis, beta) for beta in betas},
        "mean": mean,
        "median": median,
        f"mean without {100 * TRIM:.0f} % at each end": trimmed,
    }


def _median_and_trimmed_mean(row: np.ndarray) -> tuple[float, float]:
    """Of the scores `[N]` of an epoch; the trimmed mean leaves out `int(TRIM N)` scores at each end."""
    cut = int(TRIM * len(row))
    middle = (len(row) - 1) // 2, len(row) // 2
    partitioned = np.partition(row.astype(np.float64), (cut, *middle, len(row) - 1 - cut))
    return partitioned[list(middle)].mean(), partitioned[cut : len(row) - cut].mean()


def _gwa(mean: np.ndarray, excess_kurtosis: np.ndarray, beta: float) -> np.ndarray:
    """mean / (excess kurtosis + β); NaN where the denominator is not positive, as in `gwa.gwa_score`."""
    denominator = excess_kurtosis + beta
    return np.divide(mean, denominator, out=np.full_like(mean, np.nan), where=denominator > 0)


def ablate(run: FinishedRun, betas: Iterable[float]) -> Choices:
    """The epoch that the paper's rule chooses by each aggregate; written into the run's ablation.json as well.

    Raises:
      UserError: when the work directory holds no scores or no predictions.
    """
    scores = run.load_scores()
    predictions = load_array(run.workdir, "predictions.npy")  # −1 for images that were skipped
    seen = (row[predicted >= 0] for row, predicted in zip(scores, predictions, strict=True))
    epochs = {name: choose_epoch(run.history, values) for name, values in aggregate(seen, betas).items()}
    epochs |= {rule.name: rule.select(run.history) for rule in (Last(), Oracle())}
    choices = {
        name: {"epoch": epoch, "test_accuracy": run.history[epoch - 1]["test_accuracy"] if epoch else None}
        for name, epoch in epochs.items()
    }
    write_json(run.workdir / "ablation.json", choices)
    return choices


def format_choices(runs: Sequence[Choices]) -> list[str]:
    """A Markdown table, one row per aggregate: the epochs it chose in the runs, and their mean test accuracy."""
    lines = ["| aggregate | epochs | test accuracy |", "|---|---|---|"]
    for name in runs[0]:
        chosen = [choices[name] for choices in runs]
        mean = Mean.of(100 * choice["test_accuracy"] for choice in chosen if choice["test_accuracy"] is not None)
        spread = f" ± {mean.deviation:.2f}" if mean and mean.deviation is not None else ""
        accuracy = f"{mean.mean:.2f}{spread} ({mean.n})" if mean else "not measured"
        lines.append(f"| {name} | {', '.join(str(choice['epoch'] or 'none') for choice in chosen)} | {accuracy} |")
    return lines


def tabulate_aggregates(runs: Sequence[FinishedRun]) -> list[Table]:
    """Aggregate by condition, for each sweep whose runs have an ablation.json."""
    tables = []
    for sweep, data in SWEEPS.items():
        ablations = [
            (name_condition(cell), choices)
            for cell, run in find_sweep_runs(runs, sweep)
            if (choices := read_derived(run.workdir, "ablation.json"))
        ]
        if ablations:
            tables.append(_make_table(ablations, data))
    return tables


def _make_table(ablations: Sequence[tuple[str, Choices]], data: str) -> Table:
    columns = [*dict.fromkeys(condition for condition, _ in ablations), "overall"]
    names = dict.fromkeys(name for _, choices in ablations for name in choices if name != "oracle")
    rows: list[Line] = [
        (name, *(Cell(Mean.of(_list_regrets(ablations, name, column))) for column in columns)) for name in names
    ]
    title = f"Aggregates of the scores on {data}"
    return Table("aggregates", title, TEXT, ("aggregate", *columns), tuple(rows), standard_errors=True)


def _list_regrets(ablations: Sequence[tuple[str, Choices]], name: str, column: str) -> list[float]:
    parts = [choices for condition, choices in ablations if column in (condition, "overall")]
    pairs = [(choices[name]["test_accuracy"], choices["oracle"]["test_accuracy"]) for choices in parts]
    return [100 * (best - accuracy) for accuracy, best in pairs if accuracy is not None]
