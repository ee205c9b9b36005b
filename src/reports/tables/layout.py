"""A table before it is written down: rows of text and of cells that hold our mean beside the paper's value."""

from __future__ import annotations

import dataclasses

from reports.judging import Mean
from reports.paper import Published


@dataclasses.dataclass(frozen=True)
class Cell:
    """What we measured, and what the paper publishes of the same, each if there is any.

    Attributes:
      ours: the mean over our runs, in the unit that the table names.
      paper: to be shown beside it; the difference ours − paper is shown where both are there.
      note: a footnote: what would fill a cell that has no runs, or what is to be known of one that has.
    """

    ours: Mean | None = None
    paper: Published | None = None
    note: str = ""

    @property
    def difference(self) -> float | None:
        """Ours − the paper's."""
        return self.ours.mean - self.paper.value if self.ours and self.paper else None


Line = tuple[str | Cell, ...]
"""A row of a table."""


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of a page.

    Attributes:
      name: what `--table` calls it; several tables may share a name.
      title: its heading.
      text: a paragraph that says what is shown and how to read it.
      columns: the headings; the first `labels` of them say what a row is.
      rows: one entry per column.
      labels: how many columns name the row.
      standard_errors: whether ± is the standard error of the mean rather than the standard deviation of the runs.
      decimals: of the numbers in it.
      after: lines below the table.
    """

    name: str
    title: str
    text: str
    columns: tuple[str, ...]
    rows: tuple[Line, ...]
    labels: int = 1
    standard_errors: bool = False
    decimals: int = 2
    after: tuple[str, ...] = ()

    def __post_init__(self):
        assert all(len(row) == len(self.columns) for row in self.rows)

    @property
    def measured(self) -> bool:
        """Whether anything in it is ours; a cell of text always is."""
        entries = [entry for row in self.rows for entry in row[self.labels :]]
        return any(isinstance(entry, str) or entry.ours is not None for entry in entries)
