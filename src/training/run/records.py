"""The records of a run: everything in the work directory except checkpoints, written in one place.

history.jsonl       one JSON object per finished epoch; a NaN is null, with the reason under `reasons`; its last fields
                    are the checksums of the epoch's rows in the arrays below, and one of itself
scores.npy          float32 [epochs, N], the alignment of every training sample, in the row order of the training set
scores.*.npy        the same by another estimator that config.estimators names
samples.*.npy       float32 [epochs, N], a further value of every training sample that config.record names
predictions.npy     integer [epochs, N], the class predicted in the same forward pass
labels.npz          observed labels, clean labels if known, class names, the row numbers in the source, checksums of the
                    images and, of image folders, the paths; see `identity.describe_data`
cleaning.json       what a file of label issues has changed, if the config names one
summary.json        what each rule chose; written when training has ended
"""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from datasets import Cleaning
from errors import UserError
from gwa.rules import Record
from parallel.processes import is_main, run_on_main
from training.run import identity
from training.run.durable import replace, sync_file, sync_folder, write_json, write_text
from training.run.json_objects import compute_row_checksum, seal
from training.run.reader import ROW_CHECKSUMS, load_array, read_history, scores_file
from training.sample_values import PREFIX

_FILES = {"alignment": "scores.npy", "prediction": "predictions.npy"}


class Records:
    """The records of a work directory. Each epoch is appended; nothing is written twice.

    Process 0 writes; all processes know the history.

    Attributes:
      history: the records of all finished epochs.
      cut_off: whether half a line more was found.
    """

    def __init__(self, workdir: pathlib.Path, samples: Sequence[str] = tuple(_FILES)):
        """Reads the history.

        Args:
          workdir: the work directory.
          samples: what `list_samples` returns; other arrays there are not the run's.
        """
        self.workdir = workdir
        self._samples = samples
        self.history: list[Record]
        self.history, self.cut_off = run_on_main(self._read_history)

    def append(self, record: Record, samples: Mapping[str, np.ndarray]) -> None:
        """Adds an epoch; its line in the history comes last, when everything else of the epoch is there."""
        self.history.append(nan_to_null(record))  # of other trainers' records, too
        if not is_main():
            return
        files = {samples_file(name): row for name, row in samples.items()}
        checksums = {file: compute_row_checksum(append_row(self._path(file), row)) for file, row in files.items()}
        with self._path("history.jsonl").open("a") as file:
            line = seal({**self.history[-1], ROW_CHECKSUMS: checksums})
            file.write(json.dumps(line, allow_nan=False) + "\n")
            sync_file(file)

    def truncate(self, epochs: int) -> None:
        """Removes what came after `epochs`, because an interrupted run continues from its latest checkpoint.

        Raises:
          UserError: when there is less; then nothing is removed.
        """
        run_on_main(lambda: self._check_epochs(epochs))
        self.history = self.history[:epochs]
        if not is_main():
            return
        path = self._path("history.jsonl")
        lines = path.read_text().splitlines()[:epochs] if path.exists() else []
        write_text(path, "".join(f"{line}\n" for line in lines))
        for name in self._samples:
            path = self._path(samples_file(name))
            if epochs:
                truncate_rows(path, epochs)
            else:
                path.unlink(missing_ok=True)  # what was cut off while it was created cannot be read

    def last_predictions(self) -> np.ndarray | None:
        """The predictions of the latest epoch, `[N]`; None before the first epoch, and on processes other than 0."""
        return self.predictions()[-1] if self.history and is_main() else None

    def predictions(self) -> np.ndarray:
        """The predictions of all finished epochs, `[epochs, N]`, memory-mapped; there is at least one epoch."""
        return np.load(self._path("predictions.npy"), mmap_mode="r")

    def write_labels(self, data: Mapping[str, Any], cleaning: Cleaning | None = None) -> None:
        """Writes the labels that belong to the rows of scores and predictions, and what has cleaned them.

        Args:
          data: see `identity.describe_data`.
          cleaning: of the splits.
        """
        if not is_main():
            return
        path = self._path(identity.FILE)
        scratch = path.with_name(path.name + ".tmp")
        with scratch.open("wb") as file:
            np.savez_compressed(file, **data)  # paths are long and alike
            sync_file(file)
        replace(scratch, path)
        if cleaning is not None:
            write_json(self._path("cleaning.json"), dataclasses.asdict(cleaning))

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Writes the summary, which marks the run as finished."""
        if is_main():
            write_json(self._path("summary.json"), summary)

    def _read_history(self) -> tuple[list[Record], bool]:
        path = self._path("history.jsonl")
        history = read_history(self.workdir, interrupted=True) if path.exists() else []
        return history, path.exists() and len(path.read_text().splitlines()) > len(history)

    def _check_epochs(self, epochs: int) -> None:
        """Refuses records that end before the checkpoint that training continues from."""
        counts = {"history.jsonl": len(self.history)}
        if epochs:
            counts |= {file: len(load_array(self.workdir, file, epochs)) for file in map(samples_file, self._samples)}
        for name, count in counts.items():
            if count < epochs:
                raise UserError(
                    f"{self._path(name)} holds {count} epochs, but the checkpoint is of epoch {epochs}; put back what "
                    "it has lost, or choose another --workdir"
                )

    def _path(self, name: str) -> pathlib.Path:
        return self.workdir / name


def list_samples(config: Any) -> tuple[str, ...]:
    """The names of what each epoch of a run has of every training sample."""
    return (*_FILES, *config.estimators, *(PREFIX + name for name in config.record))


def samples_file(name: str) -> str:
    """The file of a value of the samples: alignment, prediction, one that config.record names, or an estimator's."""
    return f"{name.replace('/', '.')}.npy" if name.startswith(PREFIX) else _FILES.get(name, scores_file(name))


def append_row(path: pathlib.Path, row: np.ndarray) -> np.ndarray:
    """Appends a row to the array in an .npy file, which is created if needed; earlier rows are not touched.

    Returns the row in the type of the array.
    """
    if not path.exists():
        with path.open("wb") as file:
            np.save(file, row[None])
            sync_file(file)
        sync_folder(path.parent)
        return row
    rows = np.load(path, mmap_mode="r")
    _check_row(path, rows, row)
    row = np.ascontiguousarray(row, rows.dtype)
    with path.open("r+b") as file:
        start = _read_header(file)
        file.seek(start + rows.nbytes)
        file.write(row.tobytes())
        sync_file(file)
        # Only now does the row count. NumPy pads headers so that the first axis can grow in place.
        _write_header(file, start, rows.dtype, (len(rows) + 1, *rows.shape[1:]))
        sync_file(file)
    return row


def truncate_rows(path: pathlib.Path, count: int) -> None:
    """Keeps the first `count` rows of the array in an .npy file."""
    rows = np.load(path, mmap_mode="r")
    with path.open("r+b") as file:
        start = _read_header(file)
        _write_header(file, start, rows.dtype, (count, *rows.shape[1:]))
        sync_file(file)  # a file that is shorter than its header says could not be read
        file.truncate(start + count * rows[:1].nbytes)


def _check_row(path: pathlib.Path, rows: np.ndarray, row: np.ndarray) -> None:
    if rows.shape[1:] != row.shape:
        raise UserError(f"{path} holds rows of shape {rows.shape[1:]}, not {row.shape}; choose another --workdir")


def _read_header(file: Any) -> int:
    """Reads the header of an .npy file and returns the position at which the data begin."""
    np.lib.format.read_magic(file)
    np.lib.format.read_array_header_1_0(file)
    return file.tell()


def _write_header(file: Any, start: int, dtype: np.dtype, shape: tuple[int, ...]) -> None:
    file.seek(0)
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    if file.tell() != start:
        raise ValueError(f"the header of {file.name} has no room for {shape[0]} rows")


def nan_to_null(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with None in place of every NaN and infinity, which JSON cannot hold."""
    return {
        key: nan_to_null(value)
        if isinstance(value, dict)
        else None
        if isinstance(value, float) and not math.isfinite(value)
        else value
        for key, value in record.items()
    }
