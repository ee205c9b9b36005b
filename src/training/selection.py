"""The rules of a run: which epochs they keep, when the first of them stops training, and the summary of a run."""

from __future__ import annotations

import collections
import pathlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from datasets import Splits
from errors import UserError
from extensions import is_external, load_object
from gwa import RULES, Oracle, Rule
from gwa.rules import Record
from training.run.restoring import DAMAGED, EPOCHS, OLD_RESUME, RESUME


class Selection:
    """The rules that `config.stopping` names, updated epoch by epoch. The first one chooses, and may stop training."""

    def __init__(self, config: Any, splits: Splits):
        kinds = [find_rule(name) for name in config.rules]
        self.names = tuple(kind.name for kind in kinds)
        if not self.names or len(set(self.names)) < len(self.names):
            raise UserError(f"stopping.rules is {self.names}; it must name at least one rule, and none twice")
        for kind in kinds:
            self._check(kind, splits)
        if self.names[0] == Oracle.name:
            raise UserError(
                "stopping.rules starts with oracle, which reads test data; it can judge a choice, not make one"
            )
        self.rules = build_rules(config)
        self._states = [rule.init() for rule in self.rules]
        self.best_epochs: dict[str, int | None] = dict.fromkeys(self.names)  # the epoch each rule would keep

    def update(self, record: Record) -> tuple[list[str], bool]:
        """The names of the rules for which this epoch is the best so far, and whether training should stop."""
        improved, stops = [], []
        for i, rule in enumerate(self.rules):
            self._states[i], verdict = rule.update(self._states[i], record)
            self.best_epochs[rule.name] = verdict.best_epoch
            stops.append(verdict.stop)
            if verdict.best_epoch == record["epoch"]:
                improved.append(rule.name)
        return improved, stops[0]

    def replay(self, history: Iterable[Record]) -> bool:
        """Updates the rules with the epochs of an earlier start; returns whether training had stopped."""
        stop = False
        for record in history:
            _, stop = self.update(record)
        return stop

    def _check(self, kind: type[Rule], splits: Splits) -> None:
        if kind.uses_validation() and splits.val is None:
            raise UserError(f"stopping.rules: {kind.name} needs validation data; set dataset.val_fraction, such as 0.1")
        if "test_accuracy" in kind.needs and splits.test is None:
            raise UserError(f"stopping.rules: {kind.name} needs test data, and this data set has none")


def find_rule(name: str) -> type[Rule]:
    """The class of a rule: one of `gwa.RULES`, or `module:Name` from outside.

    Raises:
      UserError: there is no such rule, or its checkpoints cannot have a directory of its name.
    """
    if is_external(name):
        rule = load_object(name, "stopping.rules", Rule)
        if rule.name in (*RULES, RESUME, OLD_RESUME, EPOCHS, DAMAGED):  # directories of checkpoints have these names
            raise UserError(f"stopping.rules: {name} calls itself {rule.name!r}; that name is taken")
        if not re.fullmatch(r"\w[\w.-]*", rule.name):
            raise UserError(
                f"stopping.rules: {name} calls itself {rule.name!r}; a name has letters, digits, _, - and . only, as a "
                "directory has it"
            )
        return rule
    if name not in RULES:
        raise UserError(f"stopping.rules: there is no rule {name!r}; there are {', '.join(RULES)}")
    return RULES[name]


def build_rules(config: Any) -> list[Rule]:
    """The rules that `config.stopping` names, with their parameters; see `Selection`.

    Raises:
      UserError: there is no such rule, or a parameter has no such value.
    """
    return [_rule(find_rule(name), config, first=name == config.rules[0]) for name in config.rules]


def _rule(kind: type[Rule], config: Any, first: bool) -> Rule:
    # Both counts of gradient disparity share their parameters, and both forms of dissent.
    arguments = dict(config.get(kind.name.removesuffix("_consecutive").removeprefix("hard_"), {}))
    if kind.warmup:
        arguments["warmup"] = config.warmup
    if first and config.patience:
        arguments["patience"] = config.patience
    try:
        return kind(**arguments)
    except ValueError as error:
        raise UserError(f"stopping: {error}") from None


def summarize(
    config: Any, chosen: Mapping[str, int | None], history: list[Record], facts: dict[str, Any]
) -> dict[str, Any]:
    """What each rule chose and, to judge the choices, the last epoch and the one that was best on the test set.

    Args:
      config: of the run.
      chosen: the epoch that each rule keeps, by the rule's name; the first rule chooses.
      history: the records of the run.
      facts: what else the summary says.
    """
    by_epoch = {record["epoch"]: record for record in history}
    rules = {}
    for name, epoch in chosen.items():
        rules[name] = _choice(by_epoch.get(epoch))
        rules[name]["checkpoint"] = f"checkpoints/{name}/{epoch}" if epoch else None
        if epoch is None:
            rules[name]["reason"] = _explain_none(name, config.stopping, history)
    return {
        "chosen_by": next(iter(chosen)),
        "rules": rules,
        "last": _choice(history[-1]),
        "best_on_test": _choice(by_epoch.get(Oracle().select(history))),
        "epochs": len(history),
        "planned_epochs": config.epochs,
        "seconds": sum(record["seconds"] for record in history),
        **facts,
    }


def describe_end(summary: Mapping[str, Any], workdir: pathlib.Path) -> list[str]:
    """The lines with which a run ends: what was chosen, the last and the best epoch, and the files to look at."""
    rule = summary["chosen_by"]
    chosen = summary["rules"][rule]
    lines = []
    shown = {f"chosen by {rule}": chosen, "last": summary["last"], "best on test": summary["best_on_test"]}
    for name, choice in shown.items():
        if choice["epoch"] is None:
            lines.append(f"{name + ':':24} no epoch" + (f": {choice['reason']}" if "reason" in choice else ""))
            continue
        accuracy = "not measured" if choice["test_accuracy"] is None else f"{choice['test_accuracy']:.4f}"
        lines.append(f"{name + ':':24} epoch {choice['epoch']:3d}   test accuracy {accuracy}")
    if summary.get("skipped_count"):
        lines.append(f"{'skipped:':24} {summary['skipped_count']} image(s) that cannot be decoded; see summary.json")
    if chosen["checkpoint"]:
        lines.append(f"{'checkpoint:':24} {workdir / chosen['checkpoint']}")
    if (workdir / "report.html").exists():
        lines.append(f"{'page:':24} {workdir / 'report.html'}")
    return lines


def _explain_none(name: str, stopping: Any, history: list[Record]) -> str:
    """Why a rule has kept no epoch: how many had no value of the field that decides, and what their records say."""
    kinds = [find_rule(rule) for rule in stopping.rules]
    field = next(kind.needs[0] for kind in kinds if kind.name == name)
    undefined = [
        record.get("reasons", {}).get(field, "not measured") for record in history if record.get(field) is None
    ]
    if not undefined:
        return f"none of the {len(history)} epochs was eligible"
    # Their numbers differ from epoch to epoch.
    counts = collections.Counter(
        re.sub(r"-?\d\S*(?= (\+|of) )|(?<=alignments, )\S+(?=, is)", "…", reason) for reason in undefined
    )
    listed = "; ".join(f"{reason}: {count}" for reason, count in counts.most_common())
    waits = stopping.patience and name == kinds[0].name
    return (
        f"{field} is undefined in {len(undefined)} of {len(history)} epochs ({listed})"
        + f", so stopping.patience={stopping.patience} never counted" * bool(waits)
    )


def _choice(record: Record | None) -> dict[str, Any]:
    fields = ["epoch", "gwa", "train_accuracy", "val_accuracy", "test_accuracy", "test_loss"]
    if record and "ema_test_accuracy" in record:
        fields += ["ema_val_accuracy", "ema_test_accuracy", "ema_test_loss"]
    return {field: record[field] if record else None for field in fields}
