"""What each rule loses against the best epoch of the same run, by condition, and paired with GWA on the same runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from gwa import RULES
from reports.judging import Judgement, Mean, judge
from reports.tables.layout import Cell, Line, Table
from reports.tables.selections import SweepRuns, left_out
from training.run.reader import FinishedRun

SWEEPS = {"table1_small": "10,000 images of CIFAR-10", "table1": "CIFAR-10"}
REFERENCE = "max_gwa"

POOLED = """Runs are pooled over seeds and shares of validation data; rules that need validation data are judged in \
runs that have it. ± is the standard error, as if runs were independent."""

REGRET = f"""Test accuracy that each rule's choice loses against the best epoch of the same run, in percentage points: \
mean ± standard error (number of runs). {POOLED} `oracle` loses nothing by definition: it reads the test set."""

PAIRED = f"""The regret of each rule minus that of `{REFERENCE}` on the same runs, in percentage points: negative \
where the rule is better. Mean ± standard error of the differences (number of runs). {POOLED}"""

EPOCHS = f"""The mean epoch that each rule chose ± standard error (number of runs). {POOLED}"""


class Judged(NamedTuple):
    """A run under a condition, and what each rule chose in it; None where it chose nothing."""

    condition: str
    choices: dict[str, Judgement | None]


def judge_sweep(runs: Iterable[FinishedRun], sweep: str) -> list[Judged]:
    """Judges every rule in every run of a sweep; a rule of validation data in those that have some."""
    judged = []
    for cell, run in SweepRuns(runs, sweep).by_cell:
        rules = [name for name, rule in RULES.items() if cell["validation"] or not rule.uses_validation()]
        judged.append(Judged(condition(cell), {rule: judge(run, rule) for rule in rules}))
    return judged


def by_condition(judged: Sequence[Judged]) -> dict[str, list[Judged]]:
    """The runs of each condition, in the order of the sweep, and last all of them, as `overall`."""
    conditions = dict.fromkeys(run.condition for run in judged)
    parts = {condition: [run for run in judged if run.condition == condition] for condition in conditions}
    return {**parts, "overall": list(judged)}


def regrets(judged: Iterable[Judged], rule: str) -> list[float]:
    """What the rule lost in each run in which it chose an epoch."""
    return [choice.regret for run in judged if (choice := run.choices.get(rule))]


def differences(judged: Iterable[Judged], rule: str) -> list[float]:
    """The rule's regret minus the reference's in each run in which both chose an epoch."""
    pairs = [(run.choices.get(rule), run.choices.get(REFERENCE)) for run in judged]
    return [mine.regret - other.regret for mine, other in pairs if mine and other]


def chosen_epochs(judged: Iterable[Judged], rule: str) -> list[float]:
    """The epochs that the rule chose."""
    return [float(choice.epoch) for run in judged if (choice := run.choices.get(rule))]


def regret(runs: Sequence[FinishedRun]) -> list[Table]:
    """Three tables for each sweep that has runs: regret, paired difference to GWA, epoch; rule by condition."""
    tables = []
    for sweep, data in SWEEPS.items():
        judged = judge_sweep(runs, sweep)
        if not judged:
            continue
        for title, text, measure in (
            (f"Regret on {data}", REGRET, regrets),
            (f"Regret against that of GWA on {data}", PAIRED, differences),
            (f"Chosen epochs on {data}", EPOCHS, chosen_epochs),
        ):
            tables.append(_table(judged, title, text, measure))
    return tables


def _table(judged: list[Judged], title: str, text: str, measure: Any) -> Table:
    columns = by_condition(judged)
    lines: list[Line] = []
    for rule in RULES:
        cells = [Cell(Mean.of(measure(part, rule)), note=_left_out(part, rule)) for part in columns.values()]
        lines.append((f"`{rule}`", *cells))
    return Table("regret", title, text, ("rule", *columns), tuple(lines), standard_errors=True)


def _left_out(judged: list[Judged], rule: str) -> str:
    asked = [run.choices[rule] for run in judged if rule in run.choices]
    return left_out(sum(choice is not None for choice in asked), len(asked))


def condition(cell: Any) -> str:
    """What the runs of a cell share, whatever their seed and share of validation data: `clean, crop_flip`."""
    return ", ".join(str(value) for key, value in cell.items() if key not in ("validation", "seed"))
