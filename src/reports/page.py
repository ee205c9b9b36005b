"""The page of results: its tables and its figures over many runs, by name.

A new table is a function of the finished runs in a folder and an entry here. It returns its tables in the order of the
page; without runs it returns the paper's values alone, or nothing where the paper has none.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from errors import UserError
from reports.aggregates import tabulate_aggregates
from reports.cleaning import tabulate_cleaning
from reports.copies import leave_out_copies
from reports.detection import tabulate_detection
from reports.estimator_bias import tabulate_bias
from reports.layout import Table
from reports.model_comparison import draw_comparison, tabulate_comparison
from reports.paper_tables import tabulate_small, tabulate_table1, tabulate_table2, tabulate_table3
from reports.regret import SWEEPS, draw_regret, tabulate_averages, tabulate_regret
from reports.retrained import tabulate_retrained
from reports.single_runs import tabulate_finetuning, tabulate_single_runs
from reports.textbook import draw_textbook, tabulate_textbook
from training.run.reader import FinishedRun, find_runs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEAD = """# Results

Made by `uv run scripts/tables.py results` from the records beside this page: for each run its `config.json`,
`environment.json` (the command, versions and hardware), `history.jsonl` and `summary.json`. The CIFAR-10 images behind
these runs are JPEG copies (lossy), so accuracies are a little below those on the original. A dash means that nothing
was run; the number above it leads to the command. Values in `[...]` are the paper's.
"""

TABLES: dict[str, Callable[[Sequence[FinishedRun]], list[Table]]] = {
    "runs": tabulate_single_runs,
    "table1_small": tabulate_small,
    "regret": tabulate_regret,
    "averages": tabulate_averages,
    "retrained": tabulate_retrained,
    "detection": tabulate_detection,
    "cleaning": tabulate_cleaning,
    "aggregates": tabulate_aggregates,
    "estimators": tabulate_bias,
    "textbook": tabulate_textbook,
    "finetuning": tabulate_finetuning,
    "table1": tabulate_table1,
    "table2": tabulate_table2,
    "table3": tabulate_table3,
    "model_comparison": tabulate_comparison,
}


def make_tables(folder: pathlib.Path, names: Sequence[str] = ()) -> list[Table]:
    """The tables of these names; all that there is something to show in, where none is named.

    Raises:
      UserError: when there is no table of a name, or no run for it.
    """
    runs = leave_out_copies(find_runs(folder))
    tables: list[Table] = []
    for name in names or TABLES:
        if name not in TABLES:
            raise UserError(f"there is no table {name!r}; there are {', '.join(TABLES)}")
        found = TABLES[name](runs)
        if names and not any(table.measured for table in found):
            raise UserError(f"{folder} holds no finished run for the table {name}")
        tables += found
    return tables


def draw_runs(runs: Sequence[FinishedRun]) -> dict[str, Figure]:
    """The figures over many runs for which there are runs, by file name."""
    figures = {f"regret_{sweep}": draw_regret(runs, sweep) for sweep in SWEEPS}
    figures |= {"model_comparison": draw_comparison(runs), "textbook": draw_textbook(runs)}
    return {name: figure for name, figure in figures.items() if figure}
