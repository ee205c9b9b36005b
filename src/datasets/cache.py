"""Decoded data sets on disk: read once through their readers, then as plain arrays whose hashes are checked."""

import contextlib
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
    """The arrays that `read` returns, from the cache if they are there and whole, else read and put there.

    `fingerprint` says what was read: a change of it makes another entry. A damaged entry is read anew.
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
    """The entry's arrays, or None unless every one is there with the hash it was written with."""
    try:
        hashes = json.loads((entry / "hashes.json").read_text())
        arrays = {name: np.load(entry / f"{name}.npy", allow_pickle=False) for name in hashes}
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        logging.warning("%s is damaged (%s) and made anew", entry, error)
        return None
    damaged = [name for name, array in arrays.items() if _digest(array) != hashes[name]]
    if damaged:
        logging.warning("%s is damaged (%s) and made anew", entry, ", ".join(damaged))
        return None
    return arrays


def _store(entry: pathlib.Path, arrays: Arrays) -> None:
    """Writes beside the entry's place and renames, so that nobody ever reads half of it."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    scratch = pathlib.Path(tempfile.mkdtemp(dir=entry.parent, prefix=".writing-"))
    try:
        for name, array in arrays.items():
            np.save(scratch / f"{name}.npy", array, allow_pickle=False)
        (scratch / "hashes.json").write_text(json.dumps({name: _digest(array) for name, array in arrays.items()}))
        shutil.rmtree(entry, ignore_errors=True)
        with contextlib.suppress(FileExistsError):  # another process has just written the same
            scratch.rename(entry)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _digest(data: bytes | np.ndarray) -> str:
    return hashlib.sha256(data if isinstance(data, bytes) else np.ascontiguousarray(data).data).hexdigest()
