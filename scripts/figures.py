"""Draws a finished run, or what many finished runs show together; every figure as PNG and SVG.

uv run scripts/figures.py runs/digits                           all figures of a run, into runs/digits/figures
uv run scripts/figures.py runs/digits --output=digits.png       its overview alone; the ending gives the format
uv run scripts/figures.py results --output=docs/figures         the figures over all runs in a folder
"""

import pathlib

import repository  # noqa: F401  (it puts our packages first on Python's path)

import command_line
from errors import UserError
from reports.copies import leave_out_copies
from reports.page import draw_runs
from reports.run_figures import draw_overview, draw_run
from reports.style import save, save_all
from training.run.reader import find_runs, read_run

ENDINGS = (".png", ".svg", ".pdf")


def main() -> None:
    """Prints the names of the files that it has written."""
    parser = command_line.Parser(__doc__)
    parser.add_argument("folder", type=pathlib.Path, help="a work directory, or a folder of them")
    parser.add_argument("--output", type=pathlib.Path, help="FOLDER/figures by default; or a file for the overview")
    arguments = parser.parse_args()
    output = arguments.output
    if output and output.suffix in ENDINGS:
        command_line.check_output(output)
    elif output and (output.is_file() or output.suffix in (".jpg", ".jpeg", ".gif", ".webp", ".tif", ".eps", ".ps")):
        raise UserError(f"--output: {output} must end with one of {', '.join(ENDINGS)}, or be a folder")
    print("\n".join(map(str, draw(arguments.folder, arguments.output or arguments.folder / "figures"))))


def draw(folder: pathlib.Path, output: pathlib.Path) -> list[pathlib.Path]:
    """Writes the figures of a run or of many and returns their files.

    Raises:
      UserError: when there is nothing to draw, or a record cannot be read.
    """
    if output.suffix in ENDINGS:
        save(draw_overview(read_run(folder)), output)
        return [output]
    is_run = (folder / "summary.json").exists()
    figures = draw_run(read_run(folder)) if is_run else draw_runs(leave_out_copies(find_runs(folder)))
    if not figures:
        raise UserError(f"{folder} holds no sweep to draw; name a run in it, such as {find_runs(folder)[0].workdir}")
    return save_all(figures, output)


if __name__ == "__main__":
    command_line.run(main)
