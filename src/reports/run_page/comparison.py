"""Writes the page of several runs: a table, small charts side by side, and what the rules gain over one another."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from errors import UserError
from reports.judging import Mean
from reports.run_page.charts import Chart, draw_curves
from reports.run_page.curves import list_steps, mark_choices
from reports.run_page.provenance import format_value
from reports.run_page.recorded import RecordedRun, read_recorded
from reports.run_page.rendering import write_html
from training.run.reader import find_runs, flatten_config, is_run

MOST_CHARTS = 36  # runs with charts; the table holds all
MOST_FIELDS = 8  # fields of the config with a column
LAST, BEST = "the last epoch", "the best epoch on test"


def write_comparison(folders: Sequence[pathlib.Path], output: pathlib.Path) -> pathlib.Path:
    """Writes the page that compares runs, and returns its file.

    Args:
      folders: work directories, or folders of them.
      output: the file.

    Raises:
      UserError: when a folder holds no run, or a file of one is malformed.
      OSError: when the page cannot be written.
    """
    runs = [run for folder in folders for run in _read(folder)]
    names = _name_apart(runs)
    fields = _list_differences(runs)
    reference = runs[0].chosen_by
    drawn = list(enumerate(zip(runs, names, strict=True)))[:MOST_CHARTS]
    accuracies = [_draw_accuracies(run, name, i) for i, (run, name) in drawn]
    scores = [_draw_gwa(run, name, i) for i, (run, name) in drawn if run.has_values("gwa")]
    write_html(
        output,
        "comparison.html.j2",
        [*accuracies, *scores],
        accuracies=accuracies,
        scores=scores,
        runs=list(zip(names, runs, strict=True)),
        fields=dict(list(fields.items())[:MOST_FIELDS]),
        left_out=list(fields)[MOST_FIELDS:],
        reference=reference,
        differences=compare_rules([run.run.summary for run in runs], reference),
    )
    return output


def compare_rules(summaries: Sequence[Mapping[str, Any]], reference: str) -> dict[str, Mean]:
    """The test accuracy at the choice of each rule minus that of the reference in the same run, in percentage points.

    Args:
      summaries: of the runs; those that lack one of both accuracies do not count.
      reference: the name of a rule.

    Returns:
      By rule, and for the last and the best epoch, the mean of the paired differences.
    """
    pairs: dict[str, list[float]] = {}
    for summary in summaries:
        choices = {**summary["rules"], LAST: summary["last"], BEST: summary["best_on_test"]}
        accuracies = {name: choice["test_accuracy"] for name, choice in choices.items()}
        if accuracies.get(reference) is None:
            continue
        for name, accuracy in accuracies.items():
            if name != reference and accuracy is not None:
                pairs.setdefault(name, []).append(100 * (accuracy - accuracies[reference]))
    means = {name: Mean.of(differences) for name, differences in pairs.items()}
    return {name: mean for name, mean in means.items() if mean}


def _read(folder: pathlib.Path) -> list[RecordedRun]:
    """The run in a folder, or all finished runs in folders below it."""
    if is_run(folder):
        return [read_recorded(folder)]
    return [read_recorded(run.workdir) for run in find_runs(folder)]


def _name_apart(runs: Sequence[RecordedRun]) -> list[str]:
    """The names of the runs, or their paths where two have the same name."""
    names = [run.run.name for run in runs]
    if len({run.run.workdir.resolve() for run in runs}) < len(runs):
        raise UserError("the same run is named twice; each must be another")
    return names if len(set(names)) == len(names) else [str(run.run.workdir) for run in runs]


def _list_differences(runs: Sequence[RecordedRun]) -> dict[str, list[str]]:
    """The fields of the config in which the runs differ, with the value of each run."""
    configs = [{name: format_value(value) for name, value in flatten_config(run.run.config).items()} for run in runs]
    names = dict.fromkeys(name for config in configs for name in config)
    columns = {name: [config.get(name, "–") for config in configs] for name in names}
    return {name: values for name, values in columns.items() if len(set(values)) > 1}


def _draw_accuracies(recorded: RecordedRun, name: str, number: int) -> Chart:
    """Accuracies on the same scale in all runs."""
    series = {
        label: [100 * value for value in recorded.run.values(field)]
        for label, field in (("training", "train_accuracy"), ("test", "test_accuracy"))
        if recorded.has_values(field)
    }
    marks = mark_choices(recorded, [], series.get("test", []))
    spec = draw_curves(list_steps(recorded), series, marks, ".2f", (0, 100))
    return Chart(f"accuracy-{number}", name, _describe("Accuracy in %", recorded, name), spec | {"height": 140})


def _draw_gwa(recorded: RecordedRun, name: str, number: int) -> Chart:
    values = recorded.run.values("gwa")
    spec = draw_curves(list_steps(recorded), {"GWA": values}, mark_choices(recorded, [], values), ".4~g")
    return Chart(f"gwa-{number}", name, _describe("GWA", recorded, name), spec | {"height": 140})


def _describe(what: str, recorded: RecordedRun, name: str) -> str:
    epoch = recorded.choice["epoch"]
    chosen = "no epoch" if epoch is None else f"epoch {epoch}"
    return f"{what} of the run {name} by epoch; {recorded.chosen_by} chose {chosen}."
