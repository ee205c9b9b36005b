"""JSON objects on disk, as files or as lines of one, whose last field is a checksum of the others.

So a digit that has changed is noticed, and the checksum comes and goes with what it belongs to, whenever a run is cut
off. What older versions or people have written has none, and is taken as it is.
"""

from __future__ import annotations

import json
import pathlib
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from errors import UserError

_FIELD, _PREFIX = "checksum", "crc32:"
_YOURS = f"put back a copy, or delete the field {_FIELD} there if you have changed the rest yourself"


def seal(content: Mapping[str, Any]) -> dict[str, Any]:
    """The object with its checksum, the CRC-32 of its fields in any layout."""
    return {**content, _FIELD: _compute(json.dumps(content).encode())}


def compute_row_checksum(row: np.ndarray) -> str:
    """The checksum of an array's values: integers have the same one in every type that holds them."""
    values = row.astype(np.int64) if row.dtype.kind in "iu" else np.ascontiguousarray(row)
    return _compute(f"{values.dtype.str} {values.shape}".encode() + values.tobytes())


def read_object(path: pathlib.Path, fields: Sequence[str] = ()) -> dict[str, Any]:
    """A JSON file that holds an object with these fields, without its checksum.

    Raises:
      UserError: when it is missing, half-written, malformed or damaged.
    """
    return parse_object(read_text(path), fields, str(path))


def read_text(path: pathlib.Path) -> str:
    """A text file.

    Raises:
      UserError: when it is missing or holds something else.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing")
    try:
        return path.read_text()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is damaged ({error})") from None


def is_json(text: str) -> bool:
    """Whether it is complete."""
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def parse_object(text: str, fields: Sequence[str], where: str) -> dict[str, Any]:
    """As `read_object`, of text that lies at `where`."""
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{where} is not JSON, perhaps half-written: {error.msg}") from None
    if not isinstance(content, dict):
        raise UserError(f"{where} holds no JSON object")
    _unseal(content, where)
    for field in fields:
        if field not in content:
            raise UserError(f"{where} lacks the field {field}")
    return content


def _unseal(content: dict[str, Any], where: str) -> None:
    """Takes the checksum out of an object. Its name and its value both tell it, as either may be damaged."""
    if not content:
        return
    name, stated = content.popitem()
    if name != _FIELD and not str(stated).startswith(_PREFIX):
        content[name] = stated
    elif name != _FIELD or stated != _compute(json.dumps(content).encode()):
        raise UserError(f"{where} is damaged: it is not what was written; {_YOURS}")


def _compute(data: bytes) -> str:
    return f"{_PREFIX}{zlib.crc32(data):08x}"
