"""Finds wrong labels in a folder of pictures, which holds a directory per class.

uv run scripts/find_label_issues.py pictures [--workdir=runs/pictures] [--overwrite] [--config.field=value ...]

Trains a small network on the pictures, as configs/find_label_issues.py says, and writes into the work directory the
page of the suspicious labels, report.html, and a table of all labels, label_issues.csv and label_issues.parquet. A
first version of them is there after two minutes. The same command continues a search that was interrupted.
"""

import pathlib
import sys

import repository  # noqa: F401  (it puts our packages first on Python's path)

import command_line
from errors import UserError

FIRST_PAGE_SECONDS = 120


def main() -> None:
    """Trains, unless that is done, and prints what has been found."""
    parser = command_line.Parser(__doc__)
    parser.add_argument(
        "folder", type=pathlib.Path, help="a directory of pictures per class; or train, with test beside"
    )
    parser.add_argument("--workdir", type=pathlib.Path, help="where the search is kept; runs/<folder> by default")
    parser.add_argument("--overwrite", action="store_true", help="start anew in a work directory that holds a search")
    arguments, options = parser.parse_known_args()

    from reports import label_search  # takes seconds, which --help need not wait for
    from reports.label_table import describe_label_issues, tabulate_label_issues

    run = label_search.define_run(arguments.folder, options)
    workdir = arguments.workdir or pathlib.Path("runs", run.name)

    def show_first() -> None:
        try:
            table = tabulate_label_issues(workdir)
            files = label_search.write_results(workdir, table)
            print(f"\nafter {table.epochs} epochs, a first version of {files[0]}; training goes on", flush=True)
        except (UserError, OSError) as error:
            print(f"\nno first version yet: {error}", flush=True)

    if not arguments.overwrite and label_search.is_finished(run, workdir):
        print(f"{workdir} holds a finished run; --overwrite deletes it and starts again.")
    else:
        try:
            code = label_search.train(run, workdir, arguments.overwrite, FIRST_PAGE_SECONDS, show_first)
        except KeyboardInterrupt:
            print("\nstopped; the same command continues")
            sys.exit(command_line.SAVED)
        if code:
            sys.exit(code)
    table = tabulate_label_issues(workdir)
    print("\n".join(describe_label_issues(table)), flush=True)
    print(*(f"wrote {file}" for file in label_search.write_results(workdir, table)), sep="\n")


if __name__ == "__main__":
    command_line.run(main)
