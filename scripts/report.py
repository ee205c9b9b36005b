"""Writes the page of a run, or one page that compares several; each is one HTML file that opens by itself.

uv run scripts/report.py runs/digits                               runs/digits/report.html
uv run scripts/report.py runs/a runs/b                             comparison.html
uv run scripts/report.py runs/table1 --output=table1.html          all finished runs in a folder

The pictures of suspicious labels are read from the data set that the run's config names, where it is there.
"""

import pathlib

import repository  # noqa: F401  (it puts our packages first on Python's path)

import command_line
from errors import UserError


def main() -> None:
    """Prints the name of the file that it has written."""
    parser = command_line.Parser(__doc__)
    parser.add_argument("folder", type=pathlib.Path, nargs="+", help="a work directory, several, or a folder of them")
    parser.add_argument("--output", type=pathlib.Path, help="FOLDER/report.html or comparison.html by default")
    arguments = parser.parse_args()
    if arguments.output:
        command_line.check_output(arguments.output)
    print(write(arguments.folder, arguments.output))


def write(folders: list[pathlib.Path], output: pathlib.Path | None) -> pathlib.Path:
    """Writes the page and returns its file.

    Raises:
      UserError: when there is no run, or a file of one cannot be read.
    """
    from reports.run_page.comparison import write_comparison  # takes seconds, which --help need not wait for
    from reports.run_page.page import write_page
    from training.run.reader import is_run

    if len(folders) == 1 and is_run(folders[0]):
        return write_page(folders[0], output)
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"there is no folder {folder}")
    return write_comparison(folders, output or pathlib.Path("comparison.html"))


if __name__ == "__main__":
    command_line.run(main)
