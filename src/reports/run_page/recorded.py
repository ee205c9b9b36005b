"""What a work directory holds of a run, finished or not: its records, and the arrays of its samples."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from errors import UserError
from gwa.rules.rule import Record, Rule
from training.run.reader import (
    FinishedRun,
    is_run,
    load_array,
    read_config,
    read_environment,
    read_history,
    read_run,
)
from training.selection import build_rules, summarize


@dataclasses.dataclass(frozen=True)
class Samples:
    """The arrays of the training samples, in the row order of the training set.

    Attributes:
      labels: int `[N]`, observed labels.
      rows: int `[N]`, rows in the source.
      class_names: one per class.
      clean_labels: int `[N]`, to judge with; None where they are unknown.
      alignments: float32 `[epochs, N]`, NaN where an image was skipped; None where the file is missing.
      predictions: int `[epochs, N]`, −1 where an image was skipped; None where the file is missing.
    """

    labels: np.ndarray
    rows: np.ndarray
    class_names: tuple[str, ...]
    clean_labels: np.ndarray | None
    alignments: np.ndarray | None
    predictions: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class RecordedRun:
    """A run as its page shows it.

    Attributes:
      run: its records; of an unfinished run, the summary is what its rules would keep so far.
      is_finished: whether training has ended.
      rules: by name, with their parameters; without those from outside that cannot be imported here.
      samples: None where the work directory has no labels.npz.
    """

    run: FinishedRun
    is_finished: bool
    rules: Mapping[str, Rule]
    samples: Samples | None

    @property
    def chosen_by(self) -> str:
        """The name of the rule that chooses."""
        return self.run.summary["chosen_by"]

    @property
    def choice(self) -> Mapping[str, Any]:
        """What the summary says of that rule's choice; its `epoch` is None where there is none."""
        return self.run.summary["rules"][self.chosen_by]

    @property
    def chosen_record(self) -> Record | None:
        """The record of the chosen epoch."""
        epoch = self.choice["epoch"]
        return None if epoch is None else self.run.history[epoch - 1]

    def has_values(self, field: str) -> bool:
        """Whether a field of the records has a value in any epoch."""
        return not all(math.isnan(value) for value in self.run.values(field))


def read_recorded(workdir: pathlib.Path) -> RecordedRun:
    """Reads what there is of a run.

    Raises:
      UserError: when there is no run or no finished epoch, or a file is malformed.
    """
    is_finished = (workdir / "summary.json").exists()
    run = read_run(workdir) if is_finished else _read_unfinished(workdir)
    try:
        rules = {rule.name: rule for rule in build_rules(ConfigDict(run.config).stopping)}
        rules = {name: rule for name, rule in rules.items() if name in run.summary["rules"]}
    except UserError:  # a rule from outside that is not importable here; what it chose is in the summary
        rules = {}
    return RecordedRun(run, is_finished, rules, _read_samples(workdir, len(run.history)))


def _read_unfinished(workdir: pathlib.Path) -> FinishedRun:
    if not is_run(workdir):
        raise UserError(f"{workdir} holds no run")
    config, environment = read_config(workdir), read_environment(workdir)
    history = read_history(workdir, interrupted=True) if (workdir / "history.jsonl").exists() else []
    if not history:
        raise UserError(f"{workdir} holds no finished epoch yet")
    chosen = {rule.name: rule.select(history) for rule in build_rules(config.stopping)}
    summary = summarize(config, chosen, history, {"wrong_label_share": None})
    return FinishedRun(workdir, None, json.loads(config.to_json_best_effort()), environment, summary, history)


def _read_samples(workdir: pathlib.Path, epochs: int) -> Samples | None:
    path = workdir / "labels.npz"
    if not path.exists():
        return None
    arrays = load_array(workdir, path.name)
    if missing := {"labels", "rows", "class_names"} - {*arrays}:
        raise UserError(f"{path} lacks the arrays {', '.join(sorted(missing))}")
    labels = arrays["labels"]
    return Samples(
        labels=labels,
        rows=arrays["rows"],
        class_names=tuple(map(str, arrays["class_names"])),
        clean_labels=arrays.get("clean_labels"),
        alignments=_read_epochs(workdir / "scores.npy", epochs, len(labels)),
        predictions=_read_epochs(workdir / "predictions.npy", epochs, len(labels)),
    )


def _read_epochs(path: pathlib.Path, epochs: int, size: int) -> np.ndarray | None:
    """An array `[epochs, N]`, memory-mapped; of an interrupted run without what follows the last record."""
    if not path.exists():
        return None
    array = load_array(path.parent, path.name)
    if array.ndim != 2 or len(array) < epochs or array.shape[1] != size:
        raise UserError(f"{path} has the shape {array.shape}; it must be [{epochs} epochs, {size} samples]")
    return array[:epochs]
