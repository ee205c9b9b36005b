"""Lists the labels of a run's training set, and which of them are probably wrong.

uv run scripts/label_issues.py runs/x [--share=0.2]

Reads what a finished or interrupted run has recorded, prints what it finds, and writes WORKDIR/label_issues.csv and
WORKDIR/label_issues.parquet. A run with --config.dataset.labels=WORKDIR/label_issues.csv trains without the flagged
samples, and with --config.dataset.clean=relabel on the suggested labels. Where wrong labels do not stand apart, nothing
is flagged; with --share you decide how far down the ranking to go.
"""

import pathlib

import repository  # noqa: F401  (it puts our packages first on Python's path)

import command_line
from reports.label_table import describe_label_issues, tabulate_label_issues, write_label_issues


def main() -> None:
    """Prints what is suspect, by which criterion, and the files that it has written."""
    parser = command_line.Parser(__doc__)
    parser.add_argument("workdir", type=pathlib.Path)
    parser.add_argument("--share", type=float, help="flag this share of the labels, the most suspect ones")
    arguments = parser.parse_args()
    workdir = arguments.workdir
    table = tabulate_label_issues(workdir, arguments.share)
    print("\n".join(describe_label_issues(table)))
    print(*(f"wrote {file}" for file in write_label_issues(table, workdir)), sep="\n")


if __name__ == "__main__":
    command_line.run(main)
