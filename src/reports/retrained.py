"""What a held-out part is worth: choosing an epoch, against training again on all data for as many epochs."""

from __future__ import annotations

from collections.abc import Sequence

from reports.judging import Difference, Judgement, Mean, judge
from reports.layout import Cell, Line, Table
from reports.regret import format_difference
from reports.sweep_runs import find_sweep_runs
from training.run.reader import FinishedRun

SWEEP, REGIMES = "retrained", "regimes"

TEXT = f"""The conditions of `configs/sweeps/{SWEEP}.py` that have been trained: with a tenth of the data held out (a \
run of `configs/sweeps/{REGIMES}.py`), on all data to the end, and *retrained*: on all data, for as many epochs as \
`lowest_validation_loss` chose. Test accuracy in % of what is kept, mean ± standard error over the conditions (their \
number), and its difference from two of the ways in the same condition, retraining and the averaged choice of \
`lowest_validation_loss`: mean, 95 % interval (BCa bootstrap), p of the sign-flip test, which treat conditions as \
independent. *Averaged* are the averaged parameters one epoch after the chosen one."""

RETRAINED = ("retrained", "last", False)
HELD_OUT = ("a tenth held out", "lowest_validation_loss", True)
KEPT = (
    *(("a tenth held out", rule, False) for rule in ("last", "lowest_validation_loss", "dissent")),
    HELD_OUT,
    RETRAINED,
    ("retrained", "last", True),
    *(("all", rule, averaged) for rule in ("last", "dissent", "max_gwa") for averaged in (False, True)),
)
"""What is compared: the data, the rule that chooses the epoch, and whether the averaged parameters are kept."""


def tabulate_retrained(runs: Sequence[FinishedRun]) -> list[Table]:
    """A row per way to keep a network; nothing without conditions that have all three runs."""
    trained = {
        (cell["data"], cell["labels"], cell["augmentation"], cell["seed"]): run
        for cell, run in find_sweep_runs(runs, SWEEP)
    }
    for cell, run in find_sweep_runs(runs, REGIMES) if trained else ():
        trained["a tenth held out", cell["labels"], cell["augmentation"], cell["seed"]] = run
    conditions = [
        key[1:]
        for key in trained
        if key[0] == "all" and {("a tenth held out", *key[1:]), ("retrained", *key[1:])} <= trained.keys()
    ]
    if not conditions:
        return []
    accuracies = {
        (data, rule, averaged): [_measure(judge(trained[data, *condition], rule), averaged) for condition in conditions]
        for data, rule, averaged in KEPT
    }
    rows: list[Line] = []
    for (data, rule, averaged), values in accuracies.items():
        differences = (
            None if (data, rule, averaged) == reference else _subtract(values, accuracies[reference])
            for reference in (RETRAINED, HELD_OUT)
        )
        kept = f"`{rule}`{', averaged' if averaged else ''}"
        mean = Cell(Mean.of(value for value in values if value is not None))
        rows.append((data, kept, mean, *map(format_difference, differences)))
    columns = ("trained on", "kept", "test accuracy", "minus retrained", "minus held out and averaged")
    return [Table("retrained", "A held-out part against all data", TEXT, columns, tuple(rows), 2, standard_errors=True)]


def _subtract(values: Sequence[float | None], reference: Sequence[float | None]) -> Difference | None:
    pairs = zip(values, reference, strict=True)
    return Difference.of([ours - theirs for ours, theirs in pairs if ours is not None and theirs is not None])


def _measure(choice: Judgement | None, averaged: bool) -> float | None:
    if choice is None:
        return None
    return choice.averaged_later if averaged else choice.accuracy
