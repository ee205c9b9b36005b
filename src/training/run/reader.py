"""Finished runs, read from their work directories and checked: what tables and figures are computed from."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from errors import UserError
from sweeps import definition

Record = dict[str, Any]

_RECORD_FIELDS = ("epoch", "progress", "gwa", "train_accuracy", "test_accuracy")
_SUMMARY_FIELDS = ("chosen_by", "rules", "last", "best_on_test", "epochs", "wrong_label_share", "seconds")
_ENVIRONMENT_FIELDS = ("command", "devices", "cpu_count")
_NOT_NUMBERS = ("reasons", "estimates")


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """What a run has left, without its arrays.

    Attributes:
      workdir: the work directory.
      sweep: the folder that the work directory lies in, where that is a sweep's; None for a single run.
      config, environment, summary: the files of these names.
      history: the records of all epochs; record i is that of epoch i + 1.
    """

    workdir: pathlib.Path
    sweep: str | None
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    summary: Mapping[str, Any]
    history: Sequence[Record]

    @property
    def name(self) -> str:
        """The name of the work directory."""
        return self.workdir.name

    def values(self, field: str) -> list[float]:
        """A field of the records by epoch; NaN where it was not defined or not measured."""
        values = (record.get(field) for record in self.history)
        return [math.nan if value is None else float(value) for value in values]


def read_run(workdir: pathlib.Path, sweep: str | None = None) -> FinishedRun:
    """Reads a finished run.

    Raises:
      UserError: when the run is not finished, or a file of it is missing, half-written or malformed.
    """
    if not (workdir / "summary.json").is_file():
        raise UserError(f"{workdir} holds no finished run")
    config = _object(workdir / "config.json", ("seed",))
    environment = _object(workdir / "environment.json", _ENVIRONMENT_FIELDS)
    summary = _object(workdir / "summary.json", _SUMMARY_FIELDS)
    history = _history(workdir / "history.jsonl")
    if len(history) != summary["epochs"]:
        raise UserError(
            f"{workdir / 'history.jsonl'} holds {len(history)} epochs, and summary.json tells of {summary['epochs']}"
        )
    return FinishedRun(workdir, sweep, config, environment, summary, history)


def find_runs(folder: pathlib.Path) -> list[FinishedRun]:
    """All finished runs under a folder, sorted by path: `<folder>/<run>`, or `<folder>/<sweep>/<run>` of a sweep.

    Raises:
      UserError: when the folder does not exist or holds none, or one of them cannot be read.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    single = [(path.parent, None) for path in folder.glob("*/summary.json")]
    swept = [(path.parent, path.parent.parent.name) for path in folder.glob("*/*/summary.json")]
    runs = [read_run(workdir, sweep) for workdir, sweep in sorted([*single, *swept], key=lambda found: found[0])]
    if not runs:
        raise UserError(f"{folder} holds no finished run")
    return runs


def find_runs_in(folder: pathlib.Path) -> list[FinishedRun]:
    """The finished run in a folder, or those in its own folders, sorted by path.

    Raises:
      UserError: when there is none, or one of them cannot be read.
    """
    if (folder / "summary.json").exists():
        return [read_run(folder)]
    runs = [read_run(path.parent) for path in sorted(folder.glob("*/summary.json"))]
    if not runs:
        raise UserError(f"{folder} holds no finished run")
    return runs


def read_derived(run: FinishedRun, name: str) -> dict[str, Any] | None:
    """What a script has computed from a run's arrays and left beside them in a JSON file; None where it has not.

    Raises:
      UserError: when the file is half-written.
    """
    path = run.workdir / name
    return _object(path, ()) if path.exists() else None


def group_by_seed(runs: Iterable[FinishedRun]) -> list[list[FinishedRun]]:
    """Runs whose configs differ in `seed` alone, together; groups and the runs in them are sorted by path."""
    groups: dict[str, list[FinishedRun]] = {}
    for run in sorted(runs, key=lambda run: run.workdir):
        groups.setdefault(json.dumps({**run.config, "seed": None}, sort_keys=True), []).append(run)
    return list(groups.values())


def runs_by_cell(runs: Iterable[FinishedRun], sweep: str) -> list[tuple[Mapping[str, Any], FinishedRun]]:
    """The runs of a sweep, in its order, each with the cell of the table that it fills.

    Args:
      runs: any finished runs.
      sweep: `table1` for `configs/sweeps/table1.py`, `table1:imagenet` for a variant of it.

    Raises:
      UserError: when the sweep file cannot be read or does not list one of the runs.
    """
    finished = {run.name: run for run in runs if run.sweep == sweep.replace(":", "_")}
    if not finished:
        return []
    file = sweep_file(sweep)
    cells = {run.name: run.cell for run in definition.load(file).runs}
    for name in sorted(finished.keys() - cells):
        workdir = finished[name].workdir
        raise UserError(f"{workdir} is a run that {file} does not list; move it out of {workdir.parent}")
    return [(cell, finished[name]) for name, cell in cells.items() if name in finished]


def sweep_file(sweep: str) -> str:
    """What `scripts/sweep.py` is given for a sweep."""
    name, colon, variant = sweep.partition(":")
    return f"configs/sweeps/{name}.py{colon}{variant}"


def _object(path: pathlib.Path, fields: Sequence[str]) -> dict[str, Any]:
    """A JSON file that holds an object with these fields."""
    if not path.is_file():
        raise UserError(f"{path} is missing")
    return _parse(path.read_text(), fields, str(path))


def _history(path: pathlib.Path) -> list[Record]:
    if not path.is_file():
        raise UserError(f"{path} is missing")
    records = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        where = f"{path}, line {number},"
        record = _parse(line, _RECORD_FIELDS, where)
        if record["epoch"] != number:
            raise UserError(f"{where} is of epoch {record['epoch']}, not {number}")
        for field, value in record.items():
            if not (field in _NOT_NUMBERS or value is None or isinstance(value, int | float)):
                raise UserError(f"{where} says {field} = {value!r}, which is no number")
        records.append(record)
    return records


def _parse(text: str, fields: Sequence[str], where: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{where} is no JSON, half-written perhaps: {error.msg}") from None
    if not isinstance(content, dict):
        raise UserError(f"{where} holds no JSON object")
    for field in fields:
        if field not in content:
            raise UserError(f"{where} lacks the field {field}")
    return content
