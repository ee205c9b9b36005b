"""The first sentence of a page, which epoch to keep and what that gives, and the reasons to doubt it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gwa import LabelIssues
from gwa.rules.rule import Last
from reports.run_page.recorded import RecordedRun
from training.signals import list_bimodal

NEARLY_ALL = 0.95
"""From this training accuracy on, labels that look wrong are among those that the network has fitted."""


def state_choice(recorded: RecordedRun) -> str:
    """Which epoch, by which rule, and the test accuracy there, in the last epoch and in the best one where known."""
    summary, rule, epoch = recorded.run.summary, recorded.chosen_by, recorded.choice["epoch"]
    planned = recorded.run.config["epochs"]
    so_far = "" if recorded.is_finished else f"This run is unfinished, after {summary['epochs']} of {planned} epochs. "
    if epoch is None:
        return f"{so_far}The rule {rule} chose no epoch."
    verb = "which the rule {} chose" if recorded.is_finished else "which the rule {} would choose so far"
    is_last = recorded.is_finished and epoch == summary["epochs"]
    sentence = f"{so_far}Keep epoch {epoch}, {'the last one, ' if is_last else ''}{verb.format(rule)}"
    if recorded.choice["test_accuracy"] is None:
        return f"{sentence}; test accuracy was not measured."
    there = f"test accuracy is {_percent(recorded.choice)} there"
    others = (("last", "last"), ("best_on_test", "best"))
    known = [(word, summary[key]) for key, word in others if summary[key]["test_accuracy"] is not None]
    known = [(word, choice) for word, choice in known if choice["epoch"] != epoch]
    parts = [f"{_percent(choice)} in the {word} one (epoch {choice['epoch']})" for word, choice in known]
    return f"{sentence}: {_join([there, *parts])}."


def list_doubts(recorded: RecordedRun, issues: LabelIssues | None) -> list[str]:
    """Reasons to doubt the choice; each was checked and holds."""
    checks = (
        _doubt_memorising(recorded, issues),
        _doubt_two_peaks(recorded),
        _doubt_undefined(recorded),
        _doubt_warmup(recorded),
        _doubt_last(recorded),
        _doubt_test_set(recorded),
        _doubt_skipped(recorded),
    )
    return [doubt for doubt in checks if doubt]


def list_unchecked(recorded: RecordedRun, issues: LabelIssues | None) -> list[str]:
    """What `list_doubts` could not check, for want of records."""
    checks = {
        "whether wrong labels are fitted": issues is not None and not issues.reason,
        "whether the alignments have two peaks": recorded.has_values("two_peakedness"),
        "where the warm-up of the rule ends": recorded.chosen_by in recorded.rules,
        "whether images were skipped": "skipped_count" in recorded.run.summary,
    }
    return [name for name, is_checked in checks.items() if not is_checked]


def list_epochs(epochs: Iterable[int]) -> str:
    """Ascending numbers in words, such as `epoch 3` or `epochs 3–5 and 9`."""
    runs: list[list[int]] = []
    for epoch in epochs:
        if runs and epoch == runs[-1][-1] + 1:
            runs[-1].append(epoch)
        else:
            runs.append([epoch])
    parts = [str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs]
    return f"epoch{'s' if len(runs) > 1 or len(runs[0]) > 1 else ''} {_join(parts)}"


def _doubt_memorising(recorded: RecordedRun, issues: LabelIssues | None) -> str | None:
    record = recorded.chosen_record
    if record is None or issues is None or issues.reason or record["train_accuracy"] < NEARLY_ALL:
        return None
    if 1 - record["train_accuracy"] > issues.issue_share - 2 * issues.issue_share_error:
        return None  # as many labels are not fitted as look wrong
    accuracy, share = 100 * record["train_accuracy"], 100 * issues.issue_share
    return (
        f"Training accuracy is {accuracy:.1f}\u00a0% in epoch {record['epoch']}, though about {share:.0f}\u00a0% of "
        "the labels look wrong: the network has memorised them, which lifts GWA."
    )


def _doubt_two_peaks(recorded: RecordedRun) -> str | None:
    deep = list_bimodal(recorded.run.history, recorded.run.config["stopping"]["warmup"])
    if not deep:
        return None
    chosen = " The chosen epoch is one of them." if recorded.choice["epoch"] in deep else ""
    return f"The alignments have two peaks in {list_epochs(deep)}, where GWA is unreliable.{chosen}"


def _doubt_undefined(recorded: RecordedRun) -> str | None:
    reasons = {
        record["epoch"]: record["reasons"]["gwa"]
        for record in recorded.run.history
        if "gwa" in (record.get("reasons") or {})
    }
    if not reasons:
        return None
    first, reason = next(iter(reasons.items()))
    return f"GWA is undefined in {list_epochs(reasons)} (in epoch {first}: {reason})."


def _doubt_warmup(recorded: RecordedRun) -> str | None:
    rule = recorded.rules.get(recorded.chosen_by)
    if rule is None or not rule.warmup or recorded.choice["epoch"] is None:
        return None
    warming_up = [record["epoch"] for record in recorded.run.history if rule.is_warming_up(record)]
    if not warming_up or recorded.choice["epoch"] != warming_up[-1] + 1:
        return None
    return (
        f"Epoch {recorded.choice['epoch']} is the first that the rule considers, after its warm-up "
        f"({list_epochs(warming_up)}): the peak may lie before it."
    )


def _doubt_last(recorded: RecordedRun) -> str | None:
    last = recorded.run.summary["epochs"]
    if recorded.choice["epoch"] != last or last == 1 or recorded.chosen_by == Last.name or not recorded.is_finished:
        return None
    return f"Epoch {last} is the last one: the signal was still improving when training ended."


def _doubt_test_set(recorded: RecordedRun) -> str | None:
    if recorded.has_values("test_accuracy"):
        return None
    return "There is no test set: nothing here says how good the chosen epoch is."


def _doubt_skipped(recorded: RecordedRun) -> str | None:
    count = recorded.run.summary.get("skipped_count") or 0
    if not count:
        return None
    return f"{count:,} image{'s' if count > 1 else ''} could not be decoded and took no part; summary.json lists them."


def _percent(choice: Mapping[str, Any]) -> str:
    return f"{100 * choice['test_accuracy']:.2f}\u00a0%"


def _join(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
