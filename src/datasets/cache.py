"""Keeps decoded data sets on disk, so that they are read once and from then on loaded as arrays with checked hashes."""

import hashlib
import json
import logging
import pathlib
import shutil
import tempfile
from collections.abc import Callable

import numpy as np

from repository import cache_root

Arrays = dict[str, np.ndarray]


def read_through_cache(name: str, fingerprint: str, read: Callable[[], Arrays]) -> Arrays:
    """The arrays that `read` returns: from the cache if it has them undamaged, otherwise read and then cached.

    `fingerprint` says what is read; another fingerprint is another entry.
    """
    entry = cache_root() / "datasets" / f"{name.replace('/', '-')}-{_digest(fingerprint.encode())[:16]}"
    arrays = _load(entry)
    if arrays is None:
        arrays = read()
        try:
            _store(entry, arrays)
        except OSError as error:
            logging.warning("%s is not cached: %s", name, error)
    return arrays


def _load(entry: pathlib.Path) -> Arrays | None:
    """The entry's arrays, or None unless all of them are there with the hashes they were written with."""
    try:
        hashes = json.loads((entry / "hashes.json").read_text())
        arrays = {name: np.load(entry / f"{name}.npy", allow_pickle=False) for name in hashes}
        if damaged := [name for name, array in arrays.items() if _digest(array) != hashes[name]]:
            raise ValueError(", ".join(damaged))
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        logging.warning("%s is damaged (%s) and written again", entry, error)
        return None
    return arrays


def _store(entry: pathlib.Path, arrays: Arrays) -> None:
    """Writes to a temporary folder and renames it, so that nobody ever reads half an entry."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    scratch = pathlib.Path(tempfile.mkdtemp(dir=entry.parent, prefix=".writing-"))
    try:
        for name, array in arrays.items():
            np.save(scratch / f"{name}.npy", array, allow_pickle=False)
        (scratch / "hashes.json").write_text(json.dumps({name: _digest(array) for name, array in arrays.items()}))
        shutil.rmtree(entry, ignore_errors=True)
        try:
            scratch.rename(entry)
        except OSError:
            if not entry.exists():  # otherwise another process has just written the same
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _digest(data: bytes | np.ndarray) -> str:
    return hashlib.sha256(data if isinstance(data, bytes) else np.ascontiguousarray(data).data).hexdigest()
