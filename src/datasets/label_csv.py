"""The file `label_issues.csv`, one line per training sample: how it is written, and how it is read back.

Class names and paths are text from elsewhere, which a spreadsheet would execute if it began like a formula. Such a
class name gets an apostrophe in front, and such a path `./`, which leads to the same file.
"""

from __future__ import annotations

import csv
import hashlib
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from errors import UserError, one_line

_FORMULA = tuple("=+-@\t\r\n＝＋－＠")
_INTEGERS = ("row", "given_label", "predicted_label")


class LabelFile(NamedTuple):
    """What training needs of the file.

    Attributes:
      rows, given, predicted: int64 `[n]`, the samples' rows in the source, their labels and the suggested ones.
      flagged: bool `[n]`.
      given_classes, paths: n texts as the file has them, as objects; None where it has no such column.
      sha256: of the file, in hexadecimal.
    """

    rows: np.ndarray
    given: np.ndarray
    predicted: np.ndarray
    flagged: np.ndarray
    given_classes: np.ndarray | None
    paths: np.ndarray | None
    sha256: str


def write_csv(file: pathlib.Path, columns: Mapping[str, np.ndarray]) -> None:
    """Writes columns of one length; the file is there completely or not at all. NaN is an empty cell."""
    cells = {name: column.tolist() for name, column in columns.items()}
    for name, escape in (("given_class", escape_name), ("predicted_class", escape_name), ("path", escape_path)):
        cells[name] = [escape(text) for text in cells[name]]
    cells["label_quality"] = ["" if np.isnan(quality) else quality for quality in cells["label_quality"]]
    scratch = file.with_name(f"{file.name}.tmp")
    with scratch.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(cells)
        writer.writerows(zip(*cells.values(), strict=True))
    scratch.replace(file)


def read_csv(file: str) -> LabelFile:
    """Reads the file, which people may have edited.

    Raises:
      UserError: there is no such file, a column is missing, or a cell of it is empty or of another kind.
    """
    import pyarrow.csv  # few runs need it

    file = os.path.expanduser(file)
    if not os.path.isfile(file):
        raise UserError(f"dataset.labels: there is no file {file}; scripts/label_issues.py makes it from a run")
    types = {name: pyarrow.int64() for name in _INTEGERS} | {"is_label_issue": pyarrow.bool_()}
    types |= {name: pyarrow.string() for name in ("given_class", "path")}
    try:
        content = pathlib.Path(file).read_bytes()
        # Of a buffer and not of a file: Arrow's threads would still call Python's file while the program ends.
        table = pyarrow.csv.read_csv(
            pyarrow.BufferReader(content),
            read_options=pyarrow.csv.ReadOptions(use_threads=False),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(column_types=types),
        )
        columns = table.column_names
    except ValueError as error:  # of Arrow, or bytes that are no text
        raise UserError(f"dataset.labels: {file} is not a CSV file of label issues ({one_line(error)})") from None
    for name in (*_INTEGERS, "is_label_issue"):
        if columns.count(name) != 1:
            raise UserError(f"dataset.labels: {file} has no single column {name}; it has {', '.join(columns)}")
        if table[name].null_count:
            raise UserError(f"dataset.labels: {file} has {table[name].null_count} empty cells in the column {name}")
    rows, given, predicted, flagged = (table[name].to_numpy() for name in (*_INTEGERS, "is_label_issue"))
    classes, paths = (table[name].to_numpy() if name in columns else None for name in ("given_class", "path"))
    return LabelFile(rows, given, predicted, flagged, classes, paths, hashlib.sha256(content).hexdigest())


def decode_paths(paths: Iterable[bytes]) -> list[str]:
    """File names as text; bytes that are no UTF-8 are shown as `\\xff`."""
    return [path.decode("utf-8", "backslashreplace") for path in paths]


def escape_name(name: str) -> str:
    """A class name as the file has it."""
    return f"'{name}" if name.startswith(_FORMULA) else name


def escape_path(path: str) -> str:
    """A path as the file has it."""
    return f"./{path}" if path.startswith(_FORMULA) else path
