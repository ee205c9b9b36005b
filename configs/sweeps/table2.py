"""Table 2 of the paper on CIFAR-10: the runs of Table 1 with clean labels, evaluated on corrupted test images too.

uv run scripts/sweep.py configs/sweeps/table2.py

18 runs. They need an accelerator; how long they take there has not been measured.
"""

import dataclasses

from configs.sweeps import table1
from sweeps import Run


def get_runs() -> list[Run]:
    """Network × share of validation data × seed."""
    return [
        dataclasses.replace(
            run,
            cell={name: value for name, value in run.cell.items() if name != "labels"},
            overrides={**run.overrides, "evaluate": ("cifar10_c",)},
        )
        for run in table1.get_runs()
        if run.cell["labels"] == "clean"
    ]
