"""Checksums of a checkpoint: of its files, to find damage before Orbax reads them, and of the arrays in it."""

from __future__ import annotations

import hashlib
import pathlib
from typing import Any

import jax
import numpy as np

from errors import UserError
from parallel import devices
from training.run.durable import write_json
from training.run.json_objects import read_object

CHECKSUMS = "checksums.json"


def write_checksums(directory: pathlib.Path) -> None:
    """Writes the SHA-256 of every file of a checkpoint beside them."""
    files = [path for path in sorted(directory.rglob("*")) if path.is_file()]
    write_json(directory / CHECKSUMS, {str(path.relative_to(directory)): _hash(path) for path in files})


def find_damage(directory: pathlib.Path) -> str | None:
    """Which file of a checkpoint is not what was saved; None also where there are no checksums, as in version 0.1.0."""
    if not (directory / CHECKSUMS).exists():
        return None
    try:
        checksums = read_object(directory / CHECKSUMS)
    except UserError:
        return f"{CHECKSUMS} is not what was saved"
    for name, checksum in checksums.items():
        if not (directory / name).is_file():
            return f"{name} is missing"
        if _hash(directory / name) != checksum:
            return f"{name} is not what was saved"
    return None


def digest(tree: Any) -> np.ndarray:
    """SHA-256 over the leaves with their paths, uint8 `[32]`."""
    sha256 = hashlib.sha256()
    for path, leaf in jax.tree.leaves_with_path(tree):
        data = jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        sha256.update(jax.tree_util.keystr(path).encode())
        # One by one: all of what lies spread over the devices may not fit into one.
        sha256.update(np.ascontiguousarray(devices.fetch(data)).tobytes())
    return np.frombuffer(sha256.digest(), np.uint8)


def _hash(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
