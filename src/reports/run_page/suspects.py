"""Which labels of a run look wrong, how sure that is, and what it means for each class."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence

import numpy as np

from gwa import LabelIssues
from reports.label_table import LabelTable
from reports.run_page.recorded import RecordedRun, Samples

MOST_PAIRS = 2  # of given and suggested labels, shown for each class


@dataclasses.dataclass(frozen=True)
class ClassRow:
    """What the table of classes says of one.

    Attributes:
      name: of the class.
      count: how many training samples are labelled so.
      flagged: how many of these labels are flagged.
      accuracy: share of these samples that training predicted as labelled; None where predictions are missing.
      pairs: the most frequent suggested classes of the flagged labels, with their counts.
    """

    name: str
    count: int
    flagged: int
    accuracy: float | None
    pairs: tuple[tuple[str, int], ...]


def state_estimate(issues: LabelIssues) -> str:
    """How many labels are flagged, by which criterion, and how sure that is, in words."""
    count, total = int(issues.is_label_issue.sum()), len(issues.rank)
    if issues.reason:
        return f"No label is counted as wrong ({issues.reason}). The ranking below still holds."
    return (
        f"{count:,} of {total:,} labels are flagged: their quality lies below {issues.threshold:.3f}, the lowest "
        f"point between the two peaks of all qualities. The estimated share of wrong labels is "
        f"{100 * issues.issue_share:.1f}\u00a0% ± {100 * issues.issue_share_error:.1f} (standard error)."
    )


def judge_suspects(table: LabelTable) -> str | None:
    """How many of the flagged labels are wrong, by clean labels that the ranking has not seen; None without them."""
    flagged, wrong = table.issues.is_label_issue, table.is_wrong
    if wrong is None:
        return None
    percent = 100 * wrong.mean()
    share = f"By the clean labels, which the ranking does not use, {percent:.1f}\u00a0% of the labels are wrong"
    if not (flagged.any() and wrong.any()):
        return f"{share}."
    precision, recall = 100 * wrong[flagged].mean(), 100 * flagged[wrong].mean()
    return (
        f"{share}; so are {precision:.1f}\u00a0% of the flagged ones, and {recall:.1f}\u00a0% of the wrong ones are "
        "flagged."
    )


def tabulate_classes(recorded: RecordedRun, samples: Samples, issues: LabelIssues | None) -> list[ClassRow]:
    """One row per class, those with the largest share of flagged labels first."""
    names, labels = samples.class_names, samples.labels
    counts = np.bincount(labels, minlength=len(names))
    flagged = np.zeros(len(names), int)
    pairs: list[tuple[tuple[str, int], ...]] = [()] * len(names)
    if issues is not None:
        flagged = np.bincount(labels[issues.is_label_issue], minlength=len(names))
        pairs = _count_pairs(labels[issues.is_label_issue], issues.predicted_label[issues.is_label_issue], names)
    accuracies: Sequence[float | None] = [None] * len(names)
    if samples.predictions is not None:
        predicted = np.asarray(samples.predictions[(recorded.choice["epoch"] or len(samples.predictions)) - 1])
        seen = predicted >= 0
        right = np.bincount(labels[seen & (predicted == labels)], minlength=len(names))
        total = np.bincount(labels[seen], minlength=len(names))
        accuracies = [float(a / n) if n else None for a, n in zip(right, total, strict=True)]
    rows = [
        ClassRow(names[i], int(counts[i]), int(flagged[i]), accuracies[i], pairs[i])
        for i in range(len(names))
        if counts[i]
    ]
    return sorted(rows, key=lambda row: -row.flagged / row.count)


def _count_pairs(given: np.ndarray, suggested: np.ndarray, names: Sequence[str]) -> list[tuple[tuple[str, int], ...]]:
    """For each class, the classes most often suggested in its place."""
    counters = [collections.Counter[int]() for _ in names]
    for label, other in zip(given.tolist(), suggested.tolist(), strict=True):
        if other >= 0 and other != label:
            counters[label][other] += 1
    return [tuple((names[other], n) for other, n in each.most_common(MOST_PAIRS)) for each in counters]
