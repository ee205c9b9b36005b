"""Writes the page of a run, or one page that compares several; each is one HTML file that opens by itself.

uv run scripts/report.py runs/digits                               runs/digits/report.html
uv run scripts/report.py runs/a runs/b --output=comparison.html    both side by side
"""

import pathlib

import repository  # noqa: F401  (it puts our packages first on Python's path)

import command_line


def main() -> None:
    """Prints the name of the file that it has written."""
    parser = command_line.Parser(__doc__)
    parser.add_argument("workdir", type=pathlib.Path, nargs="+", help="a work directory; of several, a comparison")
    parser.add_argument("--output", type=pathlib.Path, help="the file; WORKDIR/report.html of one run by default")
    arguments = parser.parse_args()
    from reports.run_page.page import write_page  # takes seconds, which --help need not wait for

    print(write_page(arguments.workdir[0], arguments.output))


if __name__ == "__main__":
    command_line.run(main)
