"""Writes the tables of all finished runs in a folder, our values beside the paper's.

uv run scripts/tables.py results > results/README.md
uv run scripts/tables.py results --table=regret --table=table1 --format=latex
"""

import pathlib
import sys

from repository import ROOT

import command_line
from errors import UserError
from reports.page import HEAD, TABLES, make_tables
from reports.rendering import to_csv, to_latex, to_markdown
from training.run.reader import find_unfinished

FORMATS = {"markdown": to_markdown, "csv": to_csv, "latex": to_latex}


def main() -> None:
    """Prints the tables."""
    parser = command_line.Parser(__doc__)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--table", action="append", metavar="NAME", help=f"one of {', '.join(TABLES)}; all by default")
    parser.add_argument("--format", default="markdown", help=", ".join(FORMATS))
    arguments = parser.parse_args()
    if arguments.format not in FORMATS:
        raise UserError(f"there is no format {arguments.format!r}; there are {', '.join(FORMATS)}")
    tables = make_tables(arguments.folder, arguments.table or ())
    if arguments.format == "markdown" and not arguments.table:
        ours = arguments.folder.resolve() == ROOT / "results"
        print(HEAD if ours else f"# Results\n\nMade by `uv run scripts/tables.py {arguments.folder}`.\n")
    unfinished = find_unfinished(arguments.folder)
    if unfinished:
        print(f"left out, as not finished: {len(unfinished)}, such as {unfinished[0]}", file=sys.stderr)
    print(FORMATS[arguments.format](tables), end="")


if __name__ == "__main__":
    command_line.run(main)
