"""Which training samples a page shows: the most suspicious, the extremes of each class, and those of three epochs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from gwa import LabelIssues
from reports.run_page.pictures import Pictures
from reports.run_page.recorded import Samples
from reports.run_page.suspects import ClassRow

# Bounds on the number of pictures, so that the page stays below 5 MB.
WORST = 120  # overall
WORST_OF_CLASS = 5  # of each class, beside these
MOST_WORST = 200  # both together
CLASSES, OF_CLASS = 16, 4  # classes whose extremes are shown, and how many of each kind
OF_EPOCH = 10  # lowest and highest alignments of an epoch


@dataclasses.dataclass(frozen=True)
class Card:
    """A sample with its picture.

    Attributes:
      picture: as a data URI; None where there is none.
      row, path: where a person finds it in the source; `path` is None for data sets without files.
      given, suggested: names of classes; `suggested` is None where the network agrees or knows none.
      score: quality of the label, or the alignment, as text.
      rank: of the suspicion.
      is_suspected: whether the criterion counts the label as wrong.
    """

    picture: str | None
    row: int
    path: str | None
    given: str
    suggested: str | None
    score: str
    rank: int
    is_suspected: bool


@dataclasses.dataclass(frozen=True)
class Strip:
    """A row of cards under a title."""

    title: str
    cards: Sequence[Card]


@dataclasses.dataclass(frozen=True)
class Group:
    """Rows of cards of one class, or of one epoch."""

    title: str
    strips: Sequence[Strip]


class Gallery:
    """Makes the cards of a run."""

    def __init__(self, samples: Samples, issues: LabelIssues, pictures: Pictures):
        assert samples.alignments is not None
        self._samples, self._issues, self._pictures = samples, issues, pictures
        self._alignments = samples.alignments
        self._order = np.argsort(issues.rank, kind="stable")

    def show_worst(self) -> list[Card]:
        """The most suspicious labels, with a few of every class as far as there is room, by rank."""
        labels, count = self._samples.labels, dict.fromkeys(range(len(self._samples.class_names)), 0)
        shown: list[int] = []
        for position in self._order.tolist():
            label = int(labels[position])
            if len(shown) < WORST or (count[label] < WORST_OF_CLASS and self._issues.is_label_issue[position]):
                shown.append(position)
                count[label] += 1
            if len(shown) == MOST_WORST:
                break
        return self._make_cards(shown)

    def show_classes(self, classes: Iterable[ClassRow]) -> list[Group]:
        """The worst, the most ambiguous and the easiest samples of the first classes."""
        mean, spread = _summarize(self._alignments)
        kinds = {"most suspicious": self._issues.rank, "ambiguous": -spread, "easy": -mean}
        if len(self._alignments) == 1:
            del kinds["ambiguous"]  # alignments of a single epoch do not vary
        groups = []
        for row in list(classes)[:CLASSES]:
            members = np.flatnonzero(self._samples.labels == self._samples.class_names.index(row.name))
            members = members[~np.isnan(mean[members])]
            strips = [
                Strip(title, self._make_cards(members[np.argsort(key[members], kind="stable")[:OF_CLASS]].tolist()))
                for title, key in kinds.items()
            ]
            groups.append(Group(row.name, strips))
        return groups

    def show_epochs(self) -> list[Group]:
        """The lowest and the highest alignments early, in the middle and late in training (Fig. 4 of the paper)."""
        count = len(self._alignments)
        groups = []
        for epoch in sorted({max(1, round(0.1 * count)), max(1, round(0.5 * count)), count}):
            scores = np.asarray(self._alignments[epoch - 1])
            order = np.argsort(scores, kind="stable")[: np.count_nonzero(~np.isnan(scores))]  # NaN is sorted last
            ends = {"lowest": order[:OF_EPOCH], "highest": order[::-1][:OF_EPOCH]}
            strips = [
                Strip(f"{name} alignments", self._make_cards(end.tolist(), scores[end])) for name, end in ends.items()
            ]
            groups.append(Group(f"Epoch {epoch}", strips))
        return groups

    def _make_cards(self, positions: Sequence[int], alignments: np.ndarray | None = None) -> list[Card]:
        scores = self._issues.label_quality[positions] if alignments is None else alignments
        return [self._make_card(position, score) for position, score in zip(positions, scores.tolist(), strict=True)]

    def _make_card(self, position: int, score: float) -> Card:
        names, given = self._samples.class_names, int(self._samples.labels[position])
        suggested = int(self._issues.predicted_label[position])
        return Card(
            picture=self._pictures.encode(position),
            row=int(self._samples.rows[position]),
            path=self._pictures.name(position),
            given=names[given],
            suggested=None if suggested in (-1, given) else names[suggested],
            score=f"{score:.3f}".replace("-", "−"),
            rank=int(self._issues.rank[position]),
            is_suspected=bool(self._issues.is_label_issue[position]),
        )


def _summarize(alignments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over the epochs, float64 `[N]`, epoch by epoch: a million samples fit in memory."""
    mean, squares = np.zeros(alignments.shape[1]), np.zeros(alignments.shape[1])
    for i, scores in enumerate(alignments, start=1):
        difference = scores - mean
        mean += difference / i
        squares += difference * (scores - mean)
    return mean, np.sqrt(squares / len(alignments))
