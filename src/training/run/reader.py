"""The one reader of a run's files: config, environment, history, summary, and what scripts have left beside them.

Everything is checked as it is read, so that a damaged file is one line. Reading needs neither JAX nor Matplotlib.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from ml_collections import ConfigDict

from configs import base
from errors import UserError, one_line
from training.run.json_objects import compute_row_checksum, is_json, parse_object, read_object, read_text

if TYPE_CHECKING:
    from gwa.rules.rule import Record

RENAMED_FIELDS = {"augment.resize": "augment.upscale"}
"""Fields of the config that earlier versions called something else: their old names and the names of today."""

_RECORD_FIELDS = ("epoch", "progress", "gwa", "train_accuracy", "test_accuracy")
_SUMMARY_FIELDS = ("chosen_by", "rules", "last", "best_on_test", "epochs", "wrong_label_share", "seconds")
_ENVIRONMENT_FIELDS = ("command", "devices", "cpu_count")
NOT_NUMBERS = ("reasons", "estimates")
"""Fields of a record that hold objects."""
ROW_CHECKSUMS = "row_checksums"
"""The field of a line of history.jsonl that has the checksum of the epoch's row of each array, by file."""


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
        try:
            return tuple(load_array(self.workdir, "labels.npz")["class_names"].tolist())
        except KeyError:
            raise UserError(f"{self.workdir / 'labels.npz'} does not tell the classes of the run") from None


def is_run(folder: pathlib.Path) -> bool:
    """Whether a folder is the work directory of a run, finished or not, even if one of its files is missing."""
    return any((folder / name).exists() for name in ("config.json", "summary.json"))


def read_run(workdir: pathlib.Path, sweep: str | None = None) -> FinishedRun:
    """Reads a finished run.

    Raises:
      UserError: when the run is not finished, or a file of it is missing, half-written or malformed.
    """
    summary = read_summary(workdir)
    config = upgrade_config(read_object(workdir / "config.json", ("seed",)))
    environment = read_environment(workdir)
    return FinishedRun(workdir, sweep, config, environment, summary, read_history(workdir))


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


def find_unfinished(folder: pathlib.Path) -> list[pathlib.Path]:
    """The work directories where `find_runs` looks that hold a run without a summary, sorted."""
    begun = [path.parent for pattern in ("*/history.jsonl", "*/*/history.jsonl") for path in folder.glob(pattern)]
    return sorted(workdir for workdir in begun if not (workdir / "summary.json").exists())


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
    return ConfigDict(_to_tuples(upgrade_config(read_object(workdir / "config.json", ("seed",)))))


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
    return read_object(workdir / "environment.json", _ENVIRONMENT_FIELDS)


def read_summary(workdir: pathlib.Path) -> dict[str, Any]:
    """The summary of a finished run.

    Raises:
      UserError: when the run is not finished, or summary.json is half-written or malformed.
    """
    if not (workdir / "summary.json").is_file():
        raise UserError(f"{workdir} holds no finished run")
    return read_object(workdir / "summary.json", _SUMMARY_FIELDS)


def read_history(workdir: pathlib.Path, interrupted: bool = False) -> list[Record]:
    """The records of a run, one per epoch from epoch 1 on; of an interrupted run without a half-written last line.

    Raises:
      UserError: when history.jsonl is missing, a line of it is half-written, malformed or damaged, or the summary of
        the run speaks of more or fewer epochs.
    """
    return [_without(ROW_CHECKSUMS, line) for line in _read_lines(workdir, interrupted)]


def _read_lines(workdir: pathlib.Path, interrupted: bool) -> list[Record]:
    """The lines of history.jsonl, which are the records and what else is kept of an epoch."""
    path = workdir / "history.jsonl"
    texts = read_text(path).splitlines()
    summary = read_summary(workdir) if (workdir / "summary.json").exists() else None
    if interrupted and summary is None and texts and not is_json(texts[-1]):
        texts.pop()
    lines: list[Record] = []
    for number, text in enumerate(texts, start=1):
        where = f"{path}, line {number},"
        line = parse_object(text, _RECORD_FIELDS, where)
        if line["epoch"] != number:
            raise UserError(f"{where} is about epoch {line['epoch']}, not {number}")
        for field, value in line.items():
            if not (field in (*NOT_NUMBERS, ROW_CHECKSUMS) or value is None or isinstance(value, int | float)):
                raise UserError(f"{where} says {field} = {value!r}, which is not a number")
        lines.append(line)
    if summary and len(lines) != summary["epochs"]:
        raise UserError(f"{path} holds {len(lines)} epochs, but summary.json says {summary['epochs']}")
    return lines


def _without(field: str, line: Record) -> Record:
    return {name: value for name, value in line.items() if name != field}


def read_derived(workdir: pathlib.Path, name: str) -> dict[str, Any] | None:
    """A JSON file that a script has written into the work directory; None where there is no such file.

    Raises:
      UserError: when the file is half-written or holds something else.
    """
    path = workdir / name
    return read_object(path) if path.exists() else None


def load_array(workdir: pathlib.Path, name: str, epochs: int | None = None) -> Any:
    """An array of a run, memory-mapped, or the arrays of an .npz file by their names; nothing is unpickled.

    Args:
      workdir: of the run.
      name: of the file.
      epochs: whose rows are compared with their checksums; all by default.

    Raises:
      UserError: when the work directory does not hold the file, or it is damaged: it cannot be read, or a row of it is
        not what was written in its epoch.
    """
    path = workdir / name
    if not path.exists():
        raise UserError(f"{workdir} holds no {name}; copy it there from where the run was trained")
    try:
        if path.suffix != ".npy":
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return dict(arrays)
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # NumPy and zipfile raise many kinds for a header that is damaged
        raise UserError(f"{path} is damaged ({one_line(error)})") from None
    if (workdir / "history.jsonl").exists():
        _check_rows(path, array, _read_lines(workdir, interrupted=True)[:epochs])
    return array


def _check_rows(path: pathlib.Path, array: np.ndarray, lines: Sequence[Record]) -> None:
    """Compares an array with the checksums that were written with it; older versions wrote none."""
    stated = [line.get(ROW_CHECKSUMS, {}).get(path.name) for line in lines]
    count = len(array) if array.ndim else 0
    if any(stated[count:]):
        raise UserError(f"{path} holds {count} epochs, but history.jsonl {len(lines)}; put back a copy of it")
    for epoch, checksum in enumerate(stated, start=1):
        if checksum and compute_row_checksum(array[epoch - 1]) != checksum:
            raise UserError(
                f"{path} is damaged: its row of epoch {epoch} is not what was written; put back a copy of it"
            )


def scores_file(estimator: str | None = None) -> str:
    """The file of the online alignments, or of those by an estimator: `scores.layers.stem.npy` for layers/stem."""
    return f"scores.{estimator.replace('/', '.')}.npy" if estimator else "scores.npy"


def upgrade_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config.json of any version with the fields of today: renamed ones moved, and defaults where it has none.

    Lists stay lists, as JSON has no tuples; unknown fields are kept.
    """
    upgraded = copy.deepcopy(dict(config))
    for old, new in RENAMED_FIELDS.items():
        section, _, field = old.rpartition(".")
        if field in upgraded.get(section, {}):
            new_section, _, new_field = new.rpartition(".")
            upgraded.setdefault(new_section, {})[new_field] = upgraded[section].pop(field)
    return _fill(upgraded, json.loads(base.get_config().to_json_best_effort()))


def flatten_config(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The fields of all sections, by their names on the command line: `optimizer.ema`."""
    fields: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            fields |= flatten_config(value, f"{prefix}{name}.")
        else:
            fields[prefix + name] = value
    return fields


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
