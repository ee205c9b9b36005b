"""A run that lies in a folder twice is one run: a copy is no further seed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable

from training.run.reader import FinishedRun


def leave_out_copies(runs: Iterable[FinishedRun]) -> list[FinishedRun]:
    """The runs, without those of a sweep that repeat another: its config, seed included, or its start and its history.

    Each one that is left out is named on stderr.
    """
    first: dict[str, FinishedRun] = {}
    kept = []
    for run in runs:
        keys = [json.dumps([run.sweep, run.config], sort_keys=True)]
        if started := run.environment.get("started"):
            keys.append(json.dumps([run.sweep, started, list(run.history)], sort_keys=True))
        same = next((first[key] for key in keys if key in first), None)
        if same is None:
            kept.append(run)
            first |= dict.fromkeys(keys, run)
        else:
            print(
                f"{run.workdir} counts once with {same.workdir}: it has the same config and seed, or the same records",
                file=sys.stderr,
            )
    return kept
