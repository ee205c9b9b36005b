"""The page of a run, or of several runs side by side: one HTML file that needs nothing but itself."""

from __future__ import annotations

import pathlib
import sys
from typing import TYPE_CHECKING

from errors import one_line

if TYPE_CHECKING:
    from datasets import Splits


def write_at_end(workdir: pathlib.Path, splits: Splits) -> pathlib.Path | None:
    """Writes the page of a run that has just ended. Whatever goes wrong is one line: the run itself is complete."""
    try:
        from reports.run_page.page import write_page

        return write_page(workdir, splits=splits)
    except Exception as error:  # a package that is missing, a full disk: nothing may cost a finished run
        print(f"{workdir / 'report.html'} was not written: {one_line(error)}", file=sys.stderr)
        return None
