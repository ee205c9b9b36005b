"""Draws a finished run, or what many finished runs say together; every figure as PNG and SVG.

uv run scripts/figures.py runs/digits                           all figures of a run, into runs/digits/figures
uv run scripts/figures.py runs/digits --output=digits.png       its overview alone; the ending decides
uv run scripts/figures.py results --output=docs/figures         the figures over all runs in a folder
"""

import argparse
import pathlib
import sys

import repository  # noqa: F401  (it puts our packages first on Python's path)

from errors import UserError
from reports import figures
from reports.figures.alignments import draw_overview
from reports.figures.style import save, save_both
from training.run.reader import find_runs, read_run

ENDINGS = (".png", ".svg", ".pdf")


def main() -> None:
    """Prints the files that it has written; a mistake of the user's is one line and exit code 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, help="a work directory, or a folder of them")
    parser.add_argument("--output", type=pathlib.Path, help="FOLDER/figures by default; or a file for the overview")
    arguments = parser.parse_args()
    try:
        paths = draw(arguments.folder, arguments.output or arguments.folder / "figures")
    except UserError as error:
        print(f"figures.py: {error}", file=sys.stderr)
        sys.exit(2)
    print("\n".join(map(str, paths)))


def draw(folder: pathlib.Path, output: pathlib.Path) -> list[pathlib.Path]:
    """Writes the figures of a run or of many and returns their files.

    Raises:
      UserError: when there is nothing to draw, or a record cannot be read.
    """
    is_run = (folder / "summary.json").exists()
    if output.suffix in ENDINGS:
        save(draw_overview(read_run(folder)), output)
        return [output]
    drawn = figures.of_run(read_run(folder)) if is_run else figures.of_many(find_runs(folder))
    if not drawn:
        raise UserError(f"{folder} holds no sweep to draw; name a run in it, such as {find_runs(folder)[0].workdir}")
    return save_both(drawn, output)


if __name__ == "__main__":
    main()
