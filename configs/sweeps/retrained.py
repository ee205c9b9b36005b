"""Is a held-out part worth it? Training on all data to the end, and for as many epochs as a held-out part chose.

uv run scripts/sweep.py configs/sweeps/retrained.py

72 runs of up to 2 minutes on 2 CPU cores, with CIFAR-10-N as tfds: the runs from scratch of seeds 0 and 1 of
`configs/sweeps/regimes.py` again, without a held-out part. `all` trains to the end, and rules on training data choose.
`retrained` ends after as many epochs as `lowest_validation_loss` chose in the run of the regimes, from whose record in
`results/regimes` the number comes; its schedule ends there, too.
"""

import dataclasses
import json
from collections.abc import Iterator

from repository import ROOT

from configs.sweeps import regimes
from errors import UserError
from sweeps import Run

RECORDS = ROOT / "results" / "regimes"
SEEDS = (0, 1)


def get_runs() -> list[Run]:
    """Both kinds of every condition, one seed after the other."""
    runs = []
    for run in _find_runs_from_scratch():
        overrides = {**run.overrides, "dataset.val_fraction": 0.0, "record": ()}
        kinds = {
            "retrained": {"epochs": _find_validated_epoch(run.name), "stopping.rules": ("last",)},
            "all": {"stopping.rules": ("dissent", "max_gwa", "last")},
        }
        for kind, fields in kinds.items():
            cell = {"data": kind, **{key: run.cell[key] for key in ("labels", "augmentation", "seed")}}
            runs.append(dataclasses.replace(run, cell=cell, overrides=overrides | fields))
    return runs


def _find_runs_from_scratch() -> Iterator[Run]:
    for run in regimes.get_runs():
        if run.cell["seed"] in SEEDS and "finetune" not in run.config:
            yield run


def _find_validated_epoch(name: str) -> int:
    """The epoch that the held-out loss chose in a run of the regimes."""
    file = RECORDS / name / "summary.json"
    if not file.exists():
        raise UserError(f"there is no {file}; train configs/sweeps/regimes.py first, and copy its records there")
    return json.loads(file.read_text())["rules"]["lowest_validation_loss"]["epoch"]
