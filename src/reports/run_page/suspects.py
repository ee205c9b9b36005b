"""Which labels of a run look wrong, how sure that is, and what it means for each class."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence

import numpy as np

from reports.run_page.recorded import RecordedRun, Samples

MOST_PAIRS = 2  # of given and suggested labels, shown for each class


@dataclasses.dataclass(frozen=True)
class Suspects:
    """The labels by suspicion; arrays `[N]` in the row order of the training set.

    Attributes:
      quality: of each label, in [0, 1]; low is suspicious.
      is_suspected: whether the criterion counts it as wrong.
      suggested: class that the network proposes; −1 where it knows none.
      rank: 1 for the most suspicious.
      share, low, high: the estimated share of wrong labels, and its uncertainty.
      criterion: in words.
    """

    quality: np.ndarray
    is_suspected: np.ndarray
    suggested: np.ndarray
    rank: np.ndarray
    share: float
    low: float
    high: float
    criterion: str


@dataclasses.dataclass(frozen=True)
class ClassRow:
    """What the table of classes says of one.

    Attributes:
      name: of the class.
      count: how many training samples are labelled so.
      suspected: how many of these labels are suspected.
      accuracy: share of these samples that training predicted as labelled; None where predictions are missing.
      pairs: the most frequent suggested classes of the suspected labels, with their counts.
    """

    name: str
    count: int
    suspected: int
    accuracy: float | None
    pairs: tuple[tuple[str, int], ...]


def find_suspects(samples: Samples) -> Suspects | None:
    """Ranks the labels of a run; None where it kept no alignments."""
    if samples.alignments is None:
        return None
    alignment = np.asarray(samples.alignments)  # STAND-IN until gwa.find_label_issues is there
    quality = np.nan_to_num((np.nanmean(alignment, axis=0) + 1) / 2, nan=1.0)
    rank = np.empty(len(quality), int)
    rank[np.argsort(quality, kind="stable")] = np.arange(1, len(quality) + 1)
    suggested = np.full(len(quality), -1) if samples.predictions is None else np.asarray(samples.predictions[-1])
    suspected = quality < 0.5
    share = float(suspected.mean())
    return Suspects(quality, suspected, suggested, rank, share, share - 0.01, share + 0.01, "mean alignment below 0")


def state_estimate(suspects: Suspects) -> str:
    """How many labels are suspected, by which criterion, and the estimated share of wrong ones, in words."""
    count = int(suspects.is_suspected.sum())
    return (
        f"{count:,} of {len(suspects.rank):,} labels ({100 * count / len(suspects.rank):.1f} %) are suspected: "
        f"{suspects.criterion}. The estimated share of wrong labels is {100 * suspects.share:.1f} % "
        f"({100 * suspects.low:.1f} to {100 * suspects.high:.1f} %)."
    )


def judge_suspects(samples: Samples, suspects: Suspects) -> str | None:
    """How many of the suspected labels are wrong by the clean ones, which only this sentence uses; None without them."""
    if samples.clean_labels is None or not suspects.is_suspected.any():
        return None
    wrong = samples.labels != samples.clean_labels
    found = int((wrong & suspects.is_suspected).sum())
    return (
        f"By the clean labels of this data set, which nothing else here uses, {100 * wrong.mean():.1f} % of the labels "
        f"are wrong; {100 * found / suspects.is_suspected.sum():.1f} % of the suspected ones are, and "
        f"{100 * found / max(wrong.sum(), 1):.1f} % of the wrong ones are suspected."
    )


def tabulate_classes(recorded: RecordedRun, samples: Samples, suspects: Suspects | None) -> list[ClassRow]:
    """One row per class, those with the largest share of suspected labels first."""
    names, labels = samples.class_names, samples.labels
    counts = np.bincount(labels, minlength=len(names))
    suspected = np.zeros(len(names), int)
    pairs: list[tuple[tuple[str, int], ...]] = [()] * len(names)
    if suspects is not None:
        suspected = np.bincount(labels[suspects.is_suspected], minlength=len(names))
        pairs = _count_pairs(labels[suspects.is_suspected], suspects.suggested[suspects.is_suspected], names)
    accuracies: Sequence[float | None] = [None] * len(names)
    if samples.predictions is not None:
        predicted = np.asarray(samples.predictions[(recorded.choice["epoch"] or len(samples.predictions)) - 1])
        seen = predicted >= 0
        right = np.bincount(labels[seen & (predicted == labels)], minlength=len(names))
        total = np.bincount(labels[seen], minlength=len(names))
        accuracies = [float(a / n) if n else None for a, n in zip(right, total, strict=True)]
    rows = [
        ClassRow(names[i], int(counts[i]), int(suspected[i]), accuracies[i], pairs[i])
        for i in range(len(names))
        if counts[i]
    ]
    return sorted(rows, key=lambda row: -row.suspected / row.count)


def _count_pairs(given: np.ndarray, suggested: np.ndarray, names: Sequence[str]) -> list[tuple[tuple[str, int], ...]]:
    """For each class, the classes most often suggested in its place."""
    counters = [collections.Counter[int]() for _ in names]
    for label, other in zip(given.tolist(), suggested.tolist(), strict=True):
        if other >= 0 and other != label:
            counters[label][other] += 1
    return [tuple((names[other], n) for other, n in each.most_common(MOST_PAIRS)) for each in counters]
