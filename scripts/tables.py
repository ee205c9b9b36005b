"""Writes the tables of all finished runs under a folder, our values beside the paper's.

uv run scripts/tables.py results > results/README.md
uv run scripts/tables.py results --table=regret --table=table1 --format=latex
"""

import argparse
import pathlib
import sys

import repository  # noqa: F401  (it puts our packages first on Python's path)

from errors import UserError
from reports.tables import TABLES
from reports.tables.layout import Table
from reports.tables.rendering import latex, markdown, to_csv
from training.run.reader import FinishedRun, find_runs

FORMATS = {"markdown": markdown, "csv": to_csv, "latex": latex}

HEAD = """# Results

Made by `uv run scripts/tables.py results` from the records beside this page: for each run its `config.json`,
`environment.json` (the command, versions and hardware), `history.jsonl` and `summary.json`. The CIFAR-10 images behind
these runs are JPEG copies (lossy), so accuracies lie a little below those on the original. A number above a dash leads
to what would fill the cell; `[...]` holds values of the paper, none of which was measured here.
"""


def main() -> None:
    """Prints the tables; a mistake of the user's is one line and exit code 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--table", action="append", metavar="NAME", help=f"one of {', '.join(TABLES)}; all by default")
    parser.add_argument("--format", default="markdown", help=f"{', '.join(FORMATS)}")
    arguments = parser.parse_args()
    try:
        if arguments.format not in FORMATS:
            raise UserError(f"there is no format {arguments.format!r}; there are {', '.join(FORMATS)}")
        tables = choose(find_runs(arguments.folder), arguments.table, arguments.folder)
    except UserError as error:
        print(f"tables.py: {error}", file=sys.stderr)
        sys.exit(2)
    if arguments.format == "markdown" and not arguments.table:
        print(HEAD)
    print(FORMATS[arguments.format](tables), end="")


def choose(runs: list[FinishedRun], names: list[str] | None, folder: pathlib.Path) -> list[Table]:
    """The tables of these names; all that there is something to show of where none is named.

    Raises:
      UserError: when there is no table of a name, or no run for it.
    """
    tables: list[Table] = []
    for name in names or TABLES:
        if name not in TABLES:
            raise UserError(f"there is no table {name!r}; there are {', '.join(TABLES)}")
        found = TABLES[name](runs)
        if names and not any(table.measured for table in found):
            raise UserError(f"{folder} holds no finished run for the table {name}")
        tables += found
    return tables


if __name__ == "__main__":
    main()
