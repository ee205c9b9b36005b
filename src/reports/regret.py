"""Regret: what each rule loses against the best epoch of the same run, over all runs of a sweep and by condition."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from reports.judging import ALL_RULES, FEWEST_DIFFERENCES, Difference, Judgement, Mean, is_recorded, judge
from reports.layout import Cell, Line, Table
from reports.rendering import MINUS
from reports.sweep_runs import Cell as SweepCell
from reports.sweep_runs import find_sweep_runs, name_condition, note_missing_choices
from training.run.reader import FinishedRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SWEEPS = {
    "regimes": "CIFAR-10-N under many conditions",
    "fashion_mnist": "2,000 images of Fashion-MNIST",
    "table1_small": "10,000 images of CIFAR-10",
    "table1": "CIFAR-10, validation labels clean",
}
REFERENCES = ("last", "max_gwa", "lowest_validation_loss")
OURS = "dissent"  # the rule that a table compares with others condition by condition
MOST_COLUMNS = 8  # a sweep with more conditions is shown by what its runs have in common, one factor at a time

OVERALL = """Test accuracy that each rule's choice loses, in percentage points: mean ± standard error over the runs in \
which it chose an epoch. *Raw* is against the best epoch of the same run, which is partly luck. *Smoothed* compares \
means over an epoch and its two neighbours. *Cross-fitted* looks for the best epoch on one half of the test images and \
compares on the other half. The worst condition is that of the highest mean smoothed regret. Rules that need \
validation data are judged in runs that hold some out. `oracle` reads the test set."""

PAIRED = """The smoothed regret of each rule minus that of another on the same runs, in percentage points: negative \
where the rule is better. Mean of the differences, their 95 % interval (BCa bootstrap), p of the sign-flip test, and \
(number of runs). Intervals and p treat runs as independent."""

OURS_BY_CONDITION = f"""Smoothed regret of `{OURS}` minus that of another rule on the same runs, as above, for the \
runs that have a condition or a setting in common. The last row takes the mean of each condition as one difference."""

BY_CONDITION = """Smoothed regret in percentage points: mean ± standard error (number of runs)."""

GAINS = """What the moving average of the parameters (`optimizer.ema`) gains, in percentage points of test accuracy: \
mean of the paired differences, 95 % interval (BCa bootstrap), p of the sign-flip test, and (number of runs). *Same \
epoch*: the average minus the parameters, both after the epoch that the rule chose. *One epoch later*: the average \
after the next epoch, which lies about the chosen one, minus the parameters after the chosen one. *Against the end*: \
the average after the next epoch minus the parameters at the end of training."""

Measure = Callable[[Judgement], float | None]


class JudgedRun(NamedTuple):
    """A run, what distinguishes it from others of its sweep, and what each rule chose; None where it chose nothing."""

    condition: str
    factors: Mapping[str, str]
    choices: Mapping[str, Judgement | None]

    def measure(self, rule: str, measure: Measure) -> float | None:
        """A measure of the rule's choice, if there is such a choice."""
        choice = self.choices.get(rule)
        return measure(choice) if choice else None


def judge_sweep(runs: Iterable[FinishedRun], sweep: str) -> list[JudgedRun]:
    """Judges every rule in every run of a sweep; rules that need validation data only in runs that have some."""
    judged = []
    for cell, run in find_sweep_runs(runs, sweep):
        rules = [
            name
            for name, rule in ALL_RULES.items()
            if (cell["validation"] or not rule.uses_validation()) and is_recorded([run], name)
        ]
        choices = {rule: judge(run, rule) for rule in rules}
        judged.append(JudgedRun(name_condition(cell), _name_factors(cell, run), choices))
    return judged


def _name_factors(cell: SweepCell, run: FinishedRun) -> dict[str, str]:
    cell_factors = {key: str(value) for key, value in cell.items() if key not in ("validation", "seed")}
    config = run.config
    return cell_factors | {
        "network": config["network"]["name"],
        "schedule": config["optimizer"]["schedule"],
        "images": f"{config['dataset']['train_examples']} images",
    }


def group_by_condition(judged: Sequence[JudgedRun]) -> dict[str, list[JudgedRun]]:
    """The runs of each condition, in the order of the sweep, and last all of them, as `overall`.

    Where there are more than MOST_COLUMNS conditions, the runs of each value of a factor in their place: a run is in
    as many groups as it has factors.
    """
    conditions = dict.fromkeys(run.condition for run in judged)
    groups = {name: [run for run in judged if run.condition == name] for name in conditions}
    if len(conditions) > MOST_COLUMNS:
        values = {(key, value): None for key in judged[0].factors for run in judged for value in [run.factors[key]]}
        groups = {value: [run for run in judged if run.factors[key] == value] for key, value in values}
    return {**groups, "overall": list(judged)}


def raw(choice: Judgement) -> float:
    """The regret against the best epoch."""
    return choice.regret


def smoothed(choice: Judgement) -> float:
    """The regret with smoothed accuracies."""
    return choice.smoothed_regret


def cross_fitted(choice: Judgement) -> float | None:
    """The regret against what is best on the other half of the test images."""
    return choice.cross_fitted_regret


def collect(judged: Iterable[JudgedRun], rule: str, measure: Measure) -> list[float]:
    """A measure of what the rule chose in each run in which it chose an epoch."""
    values = (run.measure(rule, measure) for run in judged)
    return [value for value in values if value is not None]


def tabulate_regret(runs: Sequence[FinishedRun]) -> list[Table]:
    """Tables for each sweep with runs: over all runs, paired differences, by condition; a row per rule.

    The second one needs `FEWEST_DIFFERENCES` runs, the third one two conditions.
    """
    tables = []
    for sweep, data in SWEEPS.items():
        judged = judge_sweep(runs, sweep)
        if judged:
            tables.append(_tabulate_overall(judged, f"Rules on {data}"))
        if len(judged) >= FEWEST_DIFFERENCES:
            tables.append(_tabulate_paired(judged, f"Rules against each other on {data}"))
        if len({run.condition for run in judged}) > 1:
            tables.append(_tabulate_conditions(judged, f"Smoothed regret by condition on {data}"))
        if len(judged) >= FEWEST_DIFFERENCES and any(run.choices.get(OURS) for run in judged):
            tables.append(_tabulate_ours(judged, f"`{OURS}` against others by condition on {data}"))
    return tables


def _tabulate_overall(judged: list[JudgedRun], title: str) -> Table:
    lines: list[Line] = []
    for rule in _list_rules(judged):
        means = [Cell(Mean.of(collect(judged, rule, measure))) for measure in (smoothed, raw, cross_fitted)]
        epochs = Cell(Mean.of(collect(judged, rule, lambda choice: float(choice.epoch))))
        note = _note_missing(judged, rule)
        lines.append((f"`{rule}`", Cell(means[0].ours, note=note), *means[1:], _name_worst(judged, rule), epochs))
    lines.sort(key=lambda line: line[1].ours.mean if isinstance(line[1], Cell) and line[1].ours else float("inf"))
    columns = ("rule", "smoothed", "raw", "cross-fitted", "worst condition", "epoch")
    return Table("regret", title, OVERALL, columns, tuple(lines), standard_errors=True)


def _name_worst(judged: list[JudgedRun], rule: str) -> str:
    means = {
        run.condition: mean
        for run in judged
        if (mean := Mean.of(collect([other for other in judged if other.condition == run.condition], rule, smoothed)))
    }
    if not means:
        return "–"
    worst = max(means, key=lambda condition: means[condition].mean)
    return f"{means[worst].mean:.2f} ({worst}, n = {means[worst].n})"


def _tabulate_paired(judged: list[JudgedRun], title: str) -> Table:
    lines = tuple(
        (f"`{rule}`", *(format_difference(_subtract(judged, rule, reference)) for reference in REFERENCES))
        for rule in _list_rules(judged)
    )
    return Table("regret", title, PAIRED, ("rule", *(f"minus `{name}`" for name in REFERENCES)), lines)


def _subtract(judged: Iterable[JudgedRun], rule: str, reference: str) -> Difference | None:
    return None if rule == reference else Difference.of(_list_differences(judged, rule, reference))


def _list_differences(judged: Iterable[JudgedRun], rule: str, reference: str) -> list[float]:
    pairs = [(run.measure(rule, smoothed), run.measure(reference, smoothed)) for run in judged]
    return [one - other for one, other in pairs if one is not None and other is not None]


def _tabulate_ours(judged: list[JudgedRun], title: str) -> Table:
    groups, conditions = group_by_condition(judged), dict.fromkeys(run.condition for run in judged)
    lines: list[Line] = [
        (name, *(format_difference(_subtract(part, OURS, reference)) for reference in REFERENCES))
        for name, part in groups.items()
    ]
    means = []
    for reference in REFERENCES:
        parts = ([run for run in judged if run.condition == condition] for condition in conditions)
        each = (Mean.of(_list_differences(part, OURS, reference)) for part in parts)
        means.append(format_difference(Difference.of([mean.mean for mean in each if mean])))
    lines.append(("means of the conditions", *means))
    columns = ("runs", *(f"minus `{name}`" for name in REFERENCES))
    return Table("regret", title, OURS_BY_CONDITION, columns, tuple(lines))


def format_difference(difference: Difference | None) -> str:
    """As `−0.42 [−0.80, −0.05], p = 0.031 (60)`; `p < 0.001` below that."""
    if difference is None:
        return "–"
    mean, low, high = (f"{value:+.2f}".replace("-", MINUS) for value in difference[:3])
    if math.isnan(difference.p):
        return f"always {mean} ({difference.n})"
    p = f"p = {difference.p:.3f}" if difference.p >= 0.001 else "p < 0.001"
    return f"{mean} [{low}, {high}], {p} ({difference.n})"


def _tabulate_conditions(judged: list[JudgedRun], title: str) -> Table:
    columns = group_by_condition(judged)
    lines: list[Line] = []
    for rule in _list_rules(judged):
        cells = [
            Cell(Mean.of(collect(part, rule, smoothed)), note=_note_missing(part, rule)) for part in columns.values()
        ]
        lines.append((f"`{rule}`", *cells))
    return Table("regret", title, BY_CONDITION, ("rule", *columns), tuple(lines), standard_errors=True)


def tabulate_averages(runs: Sequence[FinishedRun]) -> list[Table]:
    """What averaged parameters gain at the epoch that a rule chose, for each sweep with runs that kept an average."""
    tables = []
    for sweep, data in SWEEPS.items():
        judged = [run for run in judge_sweep(runs, sweep) if run.measure("last", lambda choice: choice.averaged)]
        if judged:
            rows = tuple(
                (f"`{rule}`", *map(format_difference, _measure_gains(judged, rule))) for rule in _list_rules(judged)
            )
            columns = ("rule", "same epoch", "one epoch later", "against the end")
            tables.append(Table("averages", f"Averaged parameters on {data}", GAINS, columns, rows))
    return tables


def _measure_gains(judged: Iterable[JudgedRun], rule: str) -> list[Difference | None]:
    gains = [
        (
            choice.averaged - choice.accuracy,
            choice.averaged_later - choice.accuracy,
            choice.averaged_later - last.accuracy,
        )
        for run in judged
        if (choice := run.choices.get(rule)) and (last := run.choices["last"])
        if choice.averaged is not None and choice.averaged_later is not None
    ]
    return [Difference.of(column) for column in zip(*gains, strict=True)] or [None] * 3


def _list_rules(judged: Sequence[JudgedRun]) -> list[str]:
    """The rules whose signals were recorded."""
    return [rule for rule in ALL_RULES if any(rule in run.choices for run in judged)]


def _note_missing(judged: list[JudgedRun], rule: str) -> str:
    choices = [run.choices[rule] for run in judged if rule in run.choices]
    return note_missing_choices(sum(choice is not None for choice in choices), len(choices))


def draw_regret(runs: Sequence[FinishedRun], sweep: str) -> Figure | None:
    """Dots with standard errors, a panel per condition and one over all; None where the sweep has no finished runs.

    A sweep of more than MOST_COLUMNS conditions has the last panel alone.
    """
    from reports import style

    judged = judge_sweep(runs, sweep)
    if not judged:
        return None
    parts = group_by_condition(judged)
    if len(parts) > MOST_COLUMNS + 1:
        parts = {"overall": judged}
    rules = tuple(rule for rule in _list_rules(judged) if rule != "oracle")  # which loses nothing
    columns = 3
    figure, axes = style.make_panels(len(parts), columns, 3.2 if len(parts) > 1 else 8.0, 0.2 * len(rules) + 0.9)
    for i, (panel, (condition, part)) in enumerate(zip(axes, parts.items(), strict=True)):
        _draw_panel(panel, part, rules, with_names=i % columns == 0)
        panel.set(xlabel="percentage points", title=f"{condition} ({len(part)} runs)")
    figure.suptitle(
        f"{sweep}: smoothed test accuracy lost against the best epoch of the same run, mean ± standard error\n"
        "circles: rules that read training alone; squares: held-out data; diamond: no selection",
        fontsize=10,
    )
    return figure


def _draw_panel(axes: Axes, judged: Sequence[JudgedRun], rules: Sequence[str], with_names: bool) -> None:
    """Blue circles are rules that read training alone, red squares read validation data, black is no selection."""
    from reports import style

    for position, rule in enumerate(rules):
        color, marker = (style.RED, "s") if ALL_RULES[rule].uses_validation() else (style.BLUE, "o")
        if rule == "last":
            color, marker = style.BLACK, "D"
        if mean := Mean.of(collect(judged, rule, smoothed)):
            axes.errorbar(mean.mean, position, xerr=mean.error, color=color, marker=marker, markersize=5, capsize=2)
    axes.set_yticks(range(len(rules)), rules if with_names else [""] * len(rules))
    axes.set_ylim(len(rules) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.grid(axis="x", linewidth=0.4)
