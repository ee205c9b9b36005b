"""The one reader of a run's files: config, environment, history, summary, and what scripts have left beside them.

Everything is checked as it is read, so that a damaged file is one line. Reading needs neither JAX nor Matplotlib.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import pathlib
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from ml_collections import ConfigDict

from configs import base
from errors import UserError

if TYPE_CHECKING:
    from gwa.rules.rule import Record

RENAMED_FIELDS = {"augment.resize": "augment.upscale"}
"""Fields of the config that earlier versions called something else: their old names and the names of today."""

_RECORD_FIELDS = ("epoch", "progress", "gwa", "train_accuracy", "test_accuracy")
_SUMMARY_FIELDS = ("chosen_by", "rules", "last", "best_on_test", "epochs", "wrong_label_share", "seconds")
_ENVIRONMENT_FIELDS = ("command", "devices", "cpu_count")
NOT_NUMBERS = ("reasons", "estimates")
"""Fields of a record that hold objects."""


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """A finished run; its arrays stay on disk until `load_scores` is called.

    Attributes:
      workdir: the work directory.
      sweep: the name of the sweep that the run belongs to, which is the folder around it; None for a single run.
      config, environment, summary: the contents of the files of these names; `config` has every field of today.
      history: the records of all epochs; record i belongs to epoch i + 1.
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
        """A field of the records by epoch; NaN where it is not defined or was not measured."""
        values = (record.get(field) for record in self.history)
        return [math.nan if value is None else float(value) for value in values]

    def load_scores(self, estimator: str | None = None) -> np.ndarray:
        """The alignments of all epochs, `[epochs, N]`, memory-mapped: the online ones, or those of an estimator.

        Raises:
          UserError: when the work directory does not hold them.
        """
        return load_array(self.workdir, scores_file(estimator))

    def load_class_names(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the labels.

        Raises:
          UserError: when labels.npz is missing or damaged.
        """
        path = self.workdir / "labels.npz"
        try:
            return tuple(np.load(path, allow_pickle=False)["class_names"].tolist())
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(f"{path} does not tell the classes of the run: {error}") from None


def read_run(workdir: pathlib.Path, sweep: str | None = None) -> FinishedRun:
    """Reads a finished run.

    Raises:
      UserError: when the run is not finished, or a file of it is missing, half-written or malformed.
    """
    summary = read_summary(workdir)
    config = upgrade_config(_read_object(workdir / "config.json", ("seed",)))
    environment = read_environment(workdir)
    history = read_history(workdir)
    if len(history) != summary["epochs"]:
        raise UserError(
            f"{workdir / 'history.jsonl'} holds {len(history)} epochs, but summary.json says {summary['epochs']}"
        )
    return FinishedRun(workdir, sweep, config, environment, summary, history)


def find_runs(folder: pathlib.Path) -> list[FinishedRun]:
    """All finished runs in a folder, sorted by path: `<folder>/<run>`, or `<folder>/<sweep>/<run>` of a sweep.

    Raises:
      UserError: when the folder does not exist or holds no finished run, or one of them cannot be read.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    single = [(path.parent, None) for path in folder.glob("*/summary.json")]
    swept = [(path.parent, path.parent.parent.name) for path in folder.glob("*/*/summary.json")]
    runs = [read_run(workdir, sweep) for workdir, sweep in sorted([*single, *swept], key=lambda found: found[0])]
    if not runs:
        raise UserError(f"{folder} holds no finished run")
    return runs


def read_run_or_runs(folder: pathlib.Path) -> list[FinishedRun]:
    """The finished run whose work directory `folder` is, or else all finished runs in the folder.

    Raises:
      UserError: as `find_runs`.
    """
    return [read_run(folder)] if (folder / "summary.json").exists() else find_runs(folder)


def read_config(workdir: pathlib.Path) -> ConfigDict:
    """The config of a run, finished or not, with every field of today.

    Raises:
      UserError: when config.json is missing, half-written or malformed.
    """
    return ConfigDict(_to_tuples(upgrade_config(_read_object(workdir / "config.json", ("seed",)))))


def _to_tuples(value: Any) -> Any:
    """The value with tuples in place of lists, as which JSON stores them."""
    if isinstance(value, dict):
        return {name: _to_tuples(entry) for name, entry in value.items()}
    return tuple(map(_to_tuples, value)) if isinstance(value, list) else value


def read_environment(workdir: pathlib.Path) -> dict[str, Any]:
    """The command, versions and hardware of a run, finished or not.

    Raises:
      UserError: when environment.json is missing, half-written or malformed.
    """
    return _read_object(workdir / "environment.json", _ENVIRONMENT_FIELDS)


def read_summary(workdir: pathlib.Path) -> dict[str, Any]:
    """The summary of a finished run.

    Raises:
      UserError: when the run is not finished, or summary.json is half-written or malformed.
    """
    if not (workdir / "summary.json").is_file():
        raise UserError(f"{workdir} holds no finished run")
    return _read_object(workdir / "summary.json", _SUMMARY_FIELDS)


def read_history(workdir: pathlib.Path, interrupted: bool = False) -> list[Record]:
    """The records of a run, one per epoch from epoch 1 on; of an interrupted run without a half-written last line.

    Raises:
      UserError: when history.jsonl is missing, or a line of it is half-written or malformed.
    """
    path = workdir / "history.jsonl"
    records: list[Record] = []
    lines = _read_text(path).splitlines()
    if interrupted and lines and not _is_json(lines[-1]):
        lines.pop()
    for number, line in enumerate(lines, start=1):
        where = f"{path}, line {number},"
        record = _parse_object(line, _RECORD_FIELDS, where)
        if record["epoch"] != number:
            raise UserError(f"{where} is about epoch {record['epoch']}, not {number}")
        for field, value in record.items():
            if not (field in NOT_NUMBERS or value is None or isinstance(value, int | float)):
                raise UserError(f"{where} says {field} = {value!r}, which is not a number")
        records.append(record)
    return records


def read_derived(workdir: pathlib.Path, name: str) -> dict[str, Any] | None:
    """A JSON file that a script has written into the work directory; None where there is no such file.

    Raises:
      UserError: when the file is half-written or holds something else.
    """
    path = workdir / name
    return _read_object(path) if path.exists() else None


def load_array(workdir: pathlib.Path, name: str) -> Any:
    """An array of a run, memory-mapped, or the arrays of an .npz file by their names; nothing is unpickled.

    Raises:
      UserError: when the work directory does not hold the file, or it is damaged.
    """
    path = workdir / name
    if not path.exists():
        raise UserError(f"{workdir} holds no {name}; copy it there from where the run was trained")
    try:
        if path.suffix == ".npy":
            return np.load(path, mmap_mode="r", allow_pickle=False)
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is damaged ({error})") from None


def scores_file(estimator: str | None = None) -> str:
    """The file of the online alignments, or of those by an estimator: `scores.layers.stem.npy` for layers/stem."""
    return f"scores.{estimator.replace('/', '.')}.npy" if estimator else "scores.npy"


def upgrade_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config.json of any version with the fields of today: renamed ones moved, and defaults where it has none.

    Lists stay lists, as JSON has no tuples; fields that no version of today knows stay as they are.
    """
    upgraded = copy.deepcopy(dict(config))
    for old, new in RENAMED_FIELDS.items():
        section, _, field = old.rpartition(".")
        if field in upgraded.get(section, {}):
            new_section, _, new_field = new.rpartition(".")
            upgraded.setdefault(new_section, {})[new_field] = upgraded[section].pop(field)
    return _fill(upgraded, json.loads(base.get_config().to_json_best_effort()))


def group_by_seed(runs: Iterable[FinishedRun]) -> list[list[FinishedRun]]:
    """Runs whose configs differ in `seed` alone, together; groups and the runs in them are sorted by path."""
    groups: dict[str, list[FinishedRun]] = {}
    for run in sorted(runs, key=lambda run: run.workdir):
        groups.setdefault(json.dumps({**run.config, "seed": None}, sort_keys=True), []).append(run)
    return list(groups.values())


def _fill(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The config, with the defaults of the fields that it lacks."""
    filled = {**defaults, **config}
    for name, default in defaults.items():
        if isinstance(default, dict) and isinstance(filled[name], dict):
            filled[name] = _fill(filled[name], default)
    return filled


def _read_object(path: pathlib.Path, fields: Sequence[str] = ()) -> dict[str, Any]:
    """A JSON file that holds an object with these fields."""
    return _parse_object(_read_text(path), fields, str(path))


def _read_text(path: pathlib.Path) -> str:
    if not path.is_file():
        raise UserError(f"{path} is missing")
    try:
        return path.read_text()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is damaged ({error})") from None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return False
    return True


def _parse_object(text: str, fields: Sequence[str], where: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{where} is not JSON, perhaps half-written: {error.msg}") from None
    if not isinstance(content, dict):
        raise UserError(f"{where} holds no JSON object")
    for field in fields:
        if field not in content:
            raise UserError(f"{where} lacks the field {field}")
    return content
