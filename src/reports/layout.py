"""A table before it is written down: rows of text, and of cells that hold our mean beside the paper's value."""

from __future__ import annotations

import dataclasses

from reports.judging import Mean
from reports.paper import Published


@dataclasses.dataclass(frozen=True)
class Cell:
    """What we measured, and what the paper publishes, each if there is such a value.

    Attributes:
      ours: the mean over our runs, in the unit that the table names.
      paper: the paper's value; where there are both, the difference ours − paper is shown too.
      note: a footnote: how to fill a cell that has no runs, or what to know about one that has.
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
      text: a paragraph that says what the table shows and how to read it.
      columns: the column heads; the first `labels` columns say what a row is about.
      rows: of as many entries as there are columns.
      labels: how many columns label the row.
      standard_errors: whether ± is the standard error of the mean rather than the standard deviation of the runs.
      decimals: digits after the point of every number.
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
        """Whether anything in the table was measured by us, as text always was."""
        entries = [entry for row in self.rows for entry in row[self.labels :]]
        return any(isinstance(entry, str) or entry.ours is not None for entry in entries)
