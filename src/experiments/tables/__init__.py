"""The tables of `scripts/tables.py`, by name: functions of the finished runs under a folder.

A table is one entry here. Each function returns its tables in the order of the page; one whose runs are missing returns
the paper's values alone, or nothing where the paper has none.
"""

from collections.abc import Callable, Sequence

from experiments.reading import FinishedRun
from experiments.tables.aggregates import aggregates
from experiments.tables.comparison import model_comparison
from experiments.tables.estimators import estimators
from experiments.tables.finetuning import finetuning
from experiments.tables.layout import Table
from experiments.tables.published import table1, table2, table3
from experiments.tables.regret import regret
from experiments.tables.single import single
from experiments.tables.small import small
from experiments.tables.textbook import textbook

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
