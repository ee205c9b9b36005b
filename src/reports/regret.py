"""Regret: what each rule loses against the best epoch of the same run, by condition, as tables and as a figure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from gwa import RULES
from reports.judging import Judgement, Mean, is_recorded, judge
from reports.layout import Cell, Line, Table
from reports.sweep_runs import find_sweep_runs, name_condition, note_missing_choices
from training.run.reader import FinishedRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SWEEPS = {
    "table1_small": "10,000 images of CIFAR-10",
    "fashion_mnist": "2,000 images of Fashion-MNIST",
    "table1": "CIFAR-10",
}
REFERENCE = "max_gwa"

POOLED = """Runs are pooled over seeds and shares of validation data; rules that need validation data are judged in \
runs that have it. ± is the standard error, as if runs were independent."""

REGRET = f"""Test accuracy that each rule's choice loses against the best epoch of the same run, in percentage points: \
mean ± standard error (number of runs). {POOLED} `oracle` loses nothing by definition: it reads the test set."""

SMOOTHED = f"""The same with means over an epoch and its two neighbours in place of accuracies, for the choice as for \
the best: the best of many epochs is partly luck. Percentage points, mean ± standard error (number of runs). {POOLED}"""

PAIRED = f"""The regret of each rule minus that of `{REFERENCE}` on the same runs, in percentage points: negative \
where the rule is better. Mean ± standard error of the differences (number of runs). {POOLED}"""

EPOCHS = f"""The mean epoch that each rule chose ± standard error (number of runs). {POOLED}"""


class JudgedRun(NamedTuple):
    """A run under a condition, and what each rule chose in it; None where it chose nothing."""

    condition: str
    choices: dict[str, Judgement | None]


def judge_sweep(runs: Iterable[FinishedRun], sweep: str) -> list[JudgedRun]:
    """Judges every rule in every run of a sweep; rules that need validation data only in runs that have some."""
    judged = []
    for cell, run in find_sweep_runs(runs, sweep):
        rules = [
            name
            for name, rule in RULES.items()
            if (cell["validation"] or not rule.uses_validation()) and is_recorded([run], name)
        ]
        judged.append(JudgedRun(name_condition(cell), {rule: judge(run, rule) for rule in rules}))
    return judged


def group_by_condition(judged: Sequence[JudgedRun]) -> dict[str, list[JudgedRun]]:
    """The runs of each condition, in the order of the sweep, and last all of them, as `overall`."""
    conditions = dict.fromkeys(run.condition for run in judged)
    parts = {condition: [run for run in judged if run.condition == condition] for condition in conditions}
    return {**parts, "overall": list(judged)}


def list_regrets(judged: Iterable[JudgedRun], rule: str) -> list[float]:
    """What the rule lost in each run in which it chose an epoch."""
    return [choice.regret for run in judged if (choice := run.choices.get(rule))]


def list_smoothed_regrets(judged: Iterable[JudgedRun], rule: str) -> list[float]:
    """What the rule lost in each run against the best epoch, with accuracies smoothed over three epochs."""
    return [choice.smoothed_regret for run in judged if (choice := run.choices.get(rule))]


def list_differences(judged: Iterable[JudgedRun], rule: str) -> list[float]:
    """The rule's regret minus the reference's in each run in which both chose an epoch."""
    pairs = [(run.choices.get(rule), run.choices.get(REFERENCE)) for run in judged]
    return [one.regret - other.regret for one, other in pairs if one and other]


def list_epochs(judged: Iterable[JudgedRun], rule: str) -> list[float]:
    """The epochs that the rule chose."""
    return [float(choice.epoch) for run in judged if (choice := run.choices.get(rule))]


def tabulate_regret(runs: Sequence[FinishedRun]) -> list[Table]:
    """Four tables for each sweep with runs: regret, raw and smoothed, difference to GWA, epoch; rule by condition."""
    tables = []
    for sweep, data in SWEEPS.items():
        judged = judge_sweep(runs, sweep)
        if judged:
            tables += [
                _make_table(judged, f"Regret on {data}", REGRET, list_regrets),
                _make_table(judged, f"Smoothed regret on {data}", SMOOTHED, list_smoothed_regrets),
                _make_table(judged, f"Regret against that of GWA on {data}", PAIRED, list_differences),
                _make_table(judged, f"Chosen epochs on {data}", EPOCHS, list_epochs),
            ]
    return tables


def _make_table(
    judged: list[JudgedRun], title: str, text: str, measure: Callable[[list[JudgedRun], str], list[float]]
) -> Table:
    columns = group_by_condition(judged)
    lines: list[Line] = []
    for rule in _list_rules(judged):
        cells = [Cell(Mean.of(measure(part, rule)), note=_note_missing(part, rule)) for part in columns.values()]
        lines.append((f"`{rule}`", *cells))
    return Table("regret", title, text, ("rule", *columns), tuple(lines), standard_errors=True)


def _list_rules(judged: Sequence[JudgedRun]) -> list[str]:
    """The rules whose signals were recorded."""
    return [rule for rule in RULES if any(rule in run.choices for run in judged)]


def _note_missing(judged: list[JudgedRun], rule: str) -> str:
    choices = [run.choices[rule] for run in judged if rule in run.choices]
    return note_missing_choices(sum(choice is not None for choice in choices), len(choices))


def draw_regret(runs: Sequence[FinishedRun], sweep: str) -> Figure | None:
    """Dots with standard errors, a panel per condition and one over all; None where the sweep has no finished runs."""
    from reports import style

    judged = judge_sweep(runs, sweep)
    if not judged:
        return None
    parts = group_by_condition(judged)
    rules = tuple(rule for rule in _list_rules(judged) if rule != "oracle")  # which loses nothing
    columns = 3
    figure, axes = style.make_panels(len(parts), columns, width=3.2, height=0.2 * len(rules) + 0.9)
    for i, (panel, (condition, part)) in enumerate(zip(axes, parts.items(), strict=True)):
        _draw_panel(panel, part, rules, with_names=i % columns == 0)
        panel.set(xlabel="percentage points", title=f"{condition} ({len(part)} runs)")
    figure.suptitle(
        f"{sweep}: test accuracy lost against the best epoch of the same run, mean ± standard error\n"
        "circles: rules that read training alone; squares: held-out data; diamond: no selection",
        fontsize=10,
    )
    return figure


def _draw_panel(axes: Axes, judged: Sequence[JudgedRun], rules: Sequence[str], with_names: bool) -> None:
    """Blue circles are rules that read training alone, red squares read validation data, black is no selection."""
    from reports import style

    for position, rule in enumerate(rules):
        color, marker = (style.RED, "s") if RULES[rule].uses_validation() else (style.BLUE, "o")
        if rule == "last":
            color, marker = style.BLACK, "D"
        if mean := Mean.of(list_regrets(judged, rule)):
            axes.errorbar(mean.mean, position, xerr=mean.error, color=color, marker=marker, markersize=5, capsize=2)
    axes.set_yticks(range(len(rules)), rules if with_names else [""] * len(rules))
    axes.set_ylim(len(rules) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.grid(axis="x", linewidth=0.4)
