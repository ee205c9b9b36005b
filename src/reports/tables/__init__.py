"""The tables of `scripts/tables.py`, by name: functions of the finished runs under a folder.

A table is one entry here. Each function returns its tables in the order of the page; one whose runs are missing returns
the paper's values alone, or nothing where the paper has none.
"""

from collections.abc import Callable, Sequence

from reports.tables.aggregates import aggregates
from reports.tables.comparison import model_comparison
from reports.tables.estimators import estimators
from reports.tables.finetuning import finetuning
from reports.tables.layout import Table
from reports.tables.published import table1, table2, table3
from reports.tables.regret import regret
from reports.tables.single import single
from reports.tables.small import small
from reports.tables.textbook import textbook
from training.run.reader import FinishedRun

TABLES: dict[str, Callable[[Sequence[FinishedRun]], list[Table]]] = {
    "runs": single,
    "table1_small": small,
    "regret": regret,
    "aggregates": aggregates,
    "estimators": estimators,
    "textbook": textbook,
    "finetuning": finetuning,
    "table1": table1,
    "table2": table2,
    "table3": table3,
    "model_comparison": model_comparison,
}
