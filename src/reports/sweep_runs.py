"""The finished runs of a sweep, by the cell of the table that they fill: only runs with the sweep's own config do."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from errors import UserError
from evaluation.results import read_accuracy
from reports import judging
from reports.judging import Mean
from sweeps import definition
from sweeps.comparison import find_differences
from training.run.reader import FinishedRun

Cell = Mapping[str, Any]


def find_sweep_runs(runs: Iterable[FinishedRun], sweep: str) -> list[tuple[Cell, FinishedRun]]:
    """The runs of a sweep, in its order, each with the cell of the table that it fills.

    Args:
      runs: any finished runs.
      sweep: `table1` for `configs/sweeps/table1.py`, `table1:imagenet` for a variant of it.

    Raises:
      UserError: when the sweep file cannot be read, does not list one of the runs, or gives it another config.
    """
    finished = {run.name: run for run in runs if run.sweep == sweep.replace(":", "_")}
    if not finished:
        return []
    file = name_sweep_file(sweep)
    listed = {run.name: run for run in definition.load(file).runs}
    for name in sorted(finished.keys() - listed):
        workdir = finished[name].workdir
        raise UserError(f"{workdir} is a run that {file} does not list; move it out of {workdir.parent}")
    found = [(run, finished[name]) for name, run in listed.items() if name in finished]
    for run, result in found:
        _check_config(result, run, file)
    return [(run.cell, result) for run, result in found]


def _check_config(finished: FinishedRun, run: definition.Run, file: str) -> None:
    """Refuses a run that was trained otherwise than the sweep says."""
    config = json.loads(definition.configure(run).to_json_best_effort())
    different = [
        f"{field} = {json.dumps(actual)} where {file} says {json.dumps(expected)}"
        for field, (expected, actual) in find_differences(config, finished.config).items()
    ]
    if different:
        raise UserError(
            f"{finished.workdir}/config.json has {'; '.join(different)}; "
            f"move the run out of {finished.workdir.parent}, or train it anew: {run.command(finished.workdir)}"
        )


def name_sweep_file(sweep: str) -> str:
    """The argument of `scripts/sweep.py` for a sweep."""
    name, colon, variant = sweep.partition(":")
    return f"configs/sweeps/{name}.py{colon}{variant}"


def name_condition(cell: Cell) -> str:
    """What the runs of a cell share, whatever their seed and share of validation data: `clean, crop_flip`."""
    return ", ".join(str(value) for key, value in cell.items() if key not in ("validation", "seed"))


def note_missing_choices(chose: int, runs: int) -> str:
    """A footnote where a rule chose an epoch in some of the runs only, or in none."""
    if chose == 0:
        return f"chose no epoch in the {runs} runs" if runs else ""
    return "" if chose == runs else f"chose an epoch in {chose} of {runs} runs, and is judged by those alone"


def note_missing_evaluation(run: FinishedRun, test_set: str) -> str:
    """A footnote for a run that has not been evaluated on another test set."""
    words = ["uv", "run", "scripts/evaluate.py", f"runs/{run.sweep}/{run.name}", f"--on={test_set}"]
    command = shlex.join(words if test_set == "cifar10_c" else [*words, "--path=DATA"])
    return f"not evaluated: `{command}`, and its other seeds"


class SweepRuns:
    """The finished runs of a sweep, by the cell of the table that they fill."""

    def __init__(self, runs: Iterable[FinishedRun], sweep: str):
        """Finds the runs; `sweep` is that of `find_sweep_runs`."""
        self.sweep = sweep
        self.by_cell = find_sweep_runs(runs, sweep)

    def where(self, **values: Any) -> list[FinishedRun]:
        """The runs whose cells have these values."""
        return [run for cell, run in self.by_cell if all(cell[key] == value for key, value in values.items())]

    def judge(self, rule: str, **values: Any) -> tuple[Mean | None, str]:
        """The mean test accuracy of what a rule chose in the runs of a cell, and a note where it left some out."""
        runs = self.where(**values)
        judgements = [judgement for run in runs if (judgement := judging.judge(run, rule))]
        mean = Mean.of(judgement.accuracy for judgement in judgements)
        return mean, note_missing_choices(len(judgements), len(runs))

    def judge_on(self, test_set: str, rule: str, **values: Any) -> tuple[Mean | None, str]:
        """The mean accuracy on another test set of what a rule chose, and a note where it has not been evaluated."""
        runs = self.where(**values)
        accuracies = (read_accuracy(run.workdir, test_set, rule) for run in runs)
        mean = Mean.of(100 * accuracy for accuracy in accuracies if accuracy is not None)
        return mean, "" if mean else note_missing_evaluation(runs[0], test_set)

    def note_not_run(self, values: Sequence[Any]) -> str:
        """A footnote with the command that makes the runs of a cell; its values are in the order of the sweep."""
        pattern = "-".join(map(str, values))
        return f"not run: `uv run scripts/sweep.py {name_sweep_file(self.sweep)} --only='{pattern}-*'`"
