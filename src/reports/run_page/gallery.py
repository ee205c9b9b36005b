"""Which training samples a page shows: the most suspicious, the extremes of each class, and those of three epochs."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence

import numpy as np

from reports.label_table import LabelTable
from reports.run_page.pictures import Pictures
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
      is_flagged: whether the criterion counts the label as wrong.
    """

    picture: str | None
    row: int
    path: str | None
    given: str
    suggested: str | None
    score: str
    rank: int
    is_flagged: bool


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
    """Makes the cards of a run from its alignments `[epochs, N]`, the table of its labels and the pictures."""

    def __init__(self, alignments: np.ndarray, table: LabelTable, pictures: Pictures):
        self._alignments, self._pictures = alignments, pictures
        self._table, self._issues, self._columns = table, table.issues, table.columns

    def show_worst(self) -> list[Card]:
        """The most suspicious labels, with a few flagged ones of every class as far as there is room, by rank."""
        ranked = self._table.list_worst(len(self._issues.rank))
        more: list[int] = []
        count = collections.Counter(self._columns["given_label"][ranked[:WORST]].tolist())
        for position in ranked[WORST:][self._issues.is_label_issue[ranked[WORST:]]].tolist():
            label = int(self._columns["given_label"][position])
            if count[label] < WORST_OF_CLASS and len(more) < MOST_WORST - WORST:
                more.append(position)
                count[label] += 1
        return self._make_cards([*ranked[:WORST].tolist(), *more])

    def show_classes(self, classes: Sequence[ClassRow]) -> list[Group]:
        """The worst, the most ambiguous and the easiest samples of the first classes."""
        mean, spread = _summarize(self._alignments)
        kinds = {"most suspicious": self._issues.rank, "ambiguous": -spread, "easy": -mean}
        if len(self._alignments) == 1:
            del kinds["ambiguous"]  # the alignments of a single epoch do not vary
        groups = []
        for row in classes[:CLASSES]:
            members = np.flatnonzero((self._columns["given_class"] == row.name) & ~np.isnan(mean))
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
            strips = [Strip(f"{name} alignments", self._make_cards(end.tolist(), scores)) for name, end in ends.items()]
            groups.append(Group(f"Epoch {epoch}", strips))
        return groups

    def _make_cards(self, positions: Sequence[int], scores: np.ndarray | None = None) -> list[Card]:
        """Cards with the quality of the label or, if given, one of the scores `[N]`."""
        return [self._make_card(i, self._issues.label_quality if scores is None else scores) for i in positions]

    def _make_card(self, position: int, scores: np.ndarray) -> Card:
        row = {name: column[position] for name, column in self._columns.items()}
        agrees = row["predicted_label"] in (-1, row["given_label"])
        return Card(
            picture=self._pictures.encode(position),
            row=int(row["row"]),
            path=row["path"] or None,
            given=row["given_class"],
            suggested=None if agrees else row["predicted_class"],
            score=f"{scores[position]:.3f}".replace("-", "−"),
            rank=int(row["rank"]),
            is_flagged=bool(row["is_label_issue"]),
        )


def _summarize(alignments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over the epochs, float64 `[N]`, epoch by epoch: a million samples fit in memory."""
    mean, squares = np.zeros(alignments.shape[1]), np.zeros(alignments.shape[1])
    for i, scores in enumerate(alignments, start=1):
        difference = scores - mean
        mean += difference / i
        squares += difference * (scores - mean)
    return mean, np.sqrt(squares / len(alignments))
