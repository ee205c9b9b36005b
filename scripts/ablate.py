"""Shows which epoch the paper's rule would choose by other aggregates of the scores, and what the choice loses.

uv run scripts/ablate.py runs/digits [--beta 0.3 0.6 1.2 2.4 5]      one run
uv run scripts/ablate.py runs/table1_small                           every finished run in a folder

Writes the choices into WORKDIR/ablation.json too; `scripts/tables.py --table=aggregates` makes tables of them.
"""

import math
import pathlib

import repository  # noqa: F401  (it puts our packages first on Python's path)

import command_line
from errors import UserError
from reports.aggregates import ablate, format_choices
from reports.copies import leave_out_copies
from training.run.reader import read_run_or_runs


def main() -> None:
    """Prints a Markdown table over all runs."""
    parser = command_line.Parser(__doc__)
    parser.add_argument("folder", type=pathlib.Path, help="a work directory, or a folder of them")
    parser.add_argument("--beta", type=float, nargs="+", default=[0.3, 0.6, 1.2, 2.4, 5.0], help="offsets of GWA")
    arguments = parser.parse_args()
    if wrong := [beta for beta in arguments.beta if not 0 < beta < math.inf]:
        raise UserError(f"--beta is {wrong[0]}; it must be a number above 0")
    choices = [ablate(run, arguments.beta) for run in leave_out_copies(read_run_or_runs(arguments.folder))]
    print("\n".join(format_choices(choices)))


if __name__ == "__main__":
    command_line.run(main)
