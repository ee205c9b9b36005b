"""What must survive a power cut: files and folders that are on the disk before the program relies on them.

A system writes files back when it likes, up to half a minute later, and a renamed file may get its new name before its
content. So a file is synchronised before it is renamed, and a folder after something in it has been created or renamed.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, BinaryIO, TextIO

from training.run.json_objects import seal


def write_json(path: pathlib.Path, content: Mapping[str, Any]) -> None:
    """Writes an object as indented JSON with its checksum; the file is there completely or not at all."""
    write_text(path, json.dumps(seal(content), indent=2, allow_nan=False) + "\n")


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a file that is there completely or not at all, even if the machine stops now."""
    scratch = path.with_name(path.name + ".tmp")
    with scratch.open("w") as file:
        file.write(text)
        sync_file(file)
    replace(scratch, path)


def replace(scratch: pathlib.Path, path: pathlib.Path) -> None:
    """Gives a synchronised file its name, in place of another one."""
    scratch.replace(path)
    sync_folder(path.parent)


def sync_file(file: TextIO | BinaryIO) -> None:
    """Waits until what has been written into a file is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: pathlib.Path) -> None:
    """Waits until the names in a folder are on the disk."""
    _sync(folder)


def sync_tree(folder: pathlib.Path) -> None:
    """Waits until everything in a folder, and its own name, is on the disk."""
    for path in folder.rglob("*"):
        _sync(path)
    _sync(folder)
    _sync(folder.parent)


def _sync(path: pathlib.Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if path.is_dir():
            with contextlib.suppress(OSError):  # some network file systems know this for files alone
                os.fsync(descriptor)
        else:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
