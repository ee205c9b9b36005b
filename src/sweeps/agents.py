"""A sweep as Weights & Biases describes one, so that its agents train the runs."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence

from sweeps.definition import Sweep


def write(path: pathlib.Path, sweep: Sweep, arguments: Sequence[str]) -> None:
    """Writes the YAML file (JSON is YAML) that `wandb sweep` reads.

    The runs of a sweep need not be the product of anything, so the grid is over their names: an agent's command is
    `uv run scripts/sweep.py <arguments> --only=<name>`.
    """
    content = {
        "name": sweep.name,
        "program": "scripts/sweep.py",
        "method": "grid",
        "parameters": {"only": {"values": [run.name for run in sweep.runs]}},
        "command": ["${env}", "uv", "run", "${program}", *arguments, "${args}"],
    }
    path.write_text(json.dumps(content, indent=2) + "\n")
