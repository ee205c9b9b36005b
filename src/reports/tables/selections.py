"""What tables of selection rules have in common: their rows, and the finished runs of a sweep by cell."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from evaluation.results import read_accuracy
from gwa import RULES
from reports import judging
from reports.judging import Mean
from training.run.reader import FinishedRun, runs_by_cell, sweep_file

LABELS = {"clean": "clean labels", "aggre": "9 % wrong", "random1": "17 % wrong"}
"""The labels of CIFAR-10-N that sweeps use, in the paper's order."""

_PAPER = {"label_wave": "LabelWave", "gradient_disparity": "Gradient Disparity", "max_gwa": "GWA"}
_FINE_TUNING = {"min_then_max_gwa": "GWA for fine-tuning"}
_JUDGES = {"last": "no selection", "oracle": "best on test, which no rule can know"}


class Row(NamedTuple):
    """A rule, and the share of the training data that is held out in the runs it chooses from."""

    rule: str
    validation: float

    @property
    def label(self) -> str:
        """What the row is called: the paper's name where it has one, and the rule's own."""
        if RULES[self.rule].uses_validation():
            return f"validation {100 * self.validation:g} % (`{self.rule}`)"
        name = (_PAPER | _FINE_TUNING | _JUDGES).get(self.rule)
        return f"{name} (`{self.rule}`)" if name else f"`{self.rule}`"


def rows() -> list[Row]:
    """The paper's rows first, then every other rule; last the two that select nothing: `last` and `oracle`."""
    published = [Row("best_validation", 0.1), Row("best_validation", 0.01)]
    published += [Row(rule, 0.0) for rule in _PAPER if rule in RULES]
    others = []
    for name, rule in RULES.items():
        others += [Row(name, share) for share in ((0.1, 0.01) if rule.uses_validation() else (0.0,))]
    return [*published, *(row for row in others if row not in published and row.rule not in _JUDGES)] + [
        Row(rule, 0.0) for rule in _JUDGES
    ]


def left_out(chose: int, asked: int) -> str:
    """A footnote where a rule chose an epoch in some of its runs only, or in none."""
    if chose == 0:
        return f"chose no epoch in the {asked} runs" if asked else ""
    return "" if chose == asked else f"chose an epoch in {chose} of {asked} runs, and is judged in those alone"


def not_evaluated(run: FinishedRun, test_set: str) -> str:
    """A footnote where a run has not been judged on a further test set."""
    path = "" if test_set == "cifar10_c" else " --path=DATA"
    command = f"uv run scripts/evaluate.py runs/{run.sweep}/{run.name} --on={test_set}{path}"
    return f"not evaluated: `{command}`, and its seeds"


class SweepRuns:
    """The finished runs of a sweep, by the cell of the table that they fill."""

    def __init__(self, runs: Iterable[FinishedRun], sweep: str):
        """Of `sweep`, named as in `runs_by_cell`."""
        self.sweep = sweep
        self.by_cell = runs_by_cell(runs, sweep)

    def where(self, **values: Any) -> list[FinishedRun]:
        """The runs whose cells have these values."""
        return [run for cell, run in self.by_cell if all(cell[key] == value for key, value in values.items())]

    def accuracy(self, rule: str, **values: Any) -> tuple[Mean | None, str]:
        """The mean test accuracy of what a rule chose in the runs of a cell, and a note where it left some out."""
        runs = self.where(**values)
        judgements = [judgement for run in runs if (judgement := judging.judge(run, rule))]
        return Mean.of(judgement.accuracy for judgement in judgements), left_out(len(judgements), len(runs))

    def command(self, *values: Any) -> str:
        """The command that makes the runs of a cell, whose values stand in the order of the sweep's columns."""
        pattern = "-".join(map(str, values))
        return f"`uv run scripts/sweep.py {sweep_file(self.sweep)} --only='{pattern}-*'`"

    def elsewhere(self, test_set: str, rule: str, **values: Any) -> tuple[Mean | None, str]:
        """The mean accuracy on a further test set of what a rule chose, and a note where it has not been evaluated."""
        runs = self.where(**values)
        measured = (read_accuracy(run.workdir, test_set, rule) for run in runs)
        accuracies = [100 * accuracy for accuracy in measured if accuracy is not None]
        note = "" if accuracies else not_evaluated(runs[0], test_set)
        return Mean.of(accuracies), note
