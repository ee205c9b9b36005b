"""Which data a run is trained on: it continues on those alone, because its records belong to their rows."""

from __future__ import annotations

import os
import pathlib
import sys
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from datasets import Splits
from errors import UserError
from parallel.processes import find_disagreement, refuse_together
from training.run.reader import load_array

FILE = "labels.npz"
_TRAINING, _TEST = ("", "val_"), ("test_",)  # prefixes of the splits that are drawn from one source
_CONTENT = {"checksums": "image", "labels": "label", "clean_labels": "clean label"}
_STATED = 100_000  # files; asking a file system across the network for the sizes of many more takes minutes

Arrays = Mapping[str, np.ndarray]


def check_same_data(splits: Splits) -> None:
    """Refuses a job whose processes read different data: other labels, rows or files, or another order of them.

    Raises:
      UserError: what differs.
    """
    columns = describe_data(splits, with_checksums=False)
    here = {name: zlib.crc32(repr(column.tolist()).encode()) for name, column in columns.items()}
    if difference := find_disagreement(here):
        number, names = difference
        refuse_together(
            f"dataset: processes 0 and {number} read different data ({', '.join(names)}); all need the same files"
        )


def describe_data(splits: Splits, with_checksums: bool = True) -> dict[str, np.ndarray]:
    """The arrays of labels.npz, `[N]` each: labels, rows in the source, checksums and, of image folders, paths.

    Those of the validation and the test data have the prefixes `val_` and `test_`. A checksum, uint32, is the CRC-32 of
    an image's pixels or, of a file that is read while training, its size; of more than 100,000 files only every k-th
    is looked at, and the others have 0.
    """
    arrays = {"class_names": np.array(splits.class_names)}
    for prefix, examples in (("", splits.train), ("val_", splits.val), ("test_", splits.test)):
        if examples is not None:
            columns = {name: getattr(examples, name) for name in ("labels", "clean_labels", "rows", "paths")}
            if examples is splits.test:
                del columns["clean_labels"]  # the labels are clean
            if with_checksums:
                columns["checksums"] = _compute_checksums(examples)
            arrays |= {prefix + name: column for name, column in columns.items() if column is not None}
    return arrays


def check_data(workdir: pathlib.Path, now: Arrays) -> None:
    """Refuses to continue a run on other data than those it was begun with. What older versions kept is compared.

    Raises:
      UserError: what differs, or labels.npz is damaged.
    """
    if not (workdir / FILE).exists():
        print(f"{workdir / FILE} is missing: nothing shows whether the data are those of the run", file=sys.stderr)
        return
    try:
        before = load_array(workdir, FILE)
    except UserError as error:
        raise UserError(f"{error}; delete it to continue without comparing the data") from None
    difference = find_difference(before, now)
    if difference:
        raise UserError(
            f"dataset: the data have changed since the run in {workdir} began: {difference}; put them back as they "
            "were, or choose another --workdir"
        )


def find_difference(before: Arrays, now: Arrays) -> str | None:
    """What differs between the data of a run and those of today; None if nothing does, in what both describe."""
    names = [data["class_names"].tolist() for data in (before, now)]
    if names[0] != names[1]:
        different = [pair for pair in zip(*names, strict=False) if pair[0] != pair[1]]
        example = f", such as {different[0][0]}, now {different[0][1]}" if different else ""
        return f"{len(names[1])} classes instead of {len(names[0])}{example}"
    for prefixes, kind in ((_TRAINING, ""), (_TEST, "test ")):
        if any(f"{prefix}rows" in before and f"{prefix}rows" not in now for prefix in prefixes):
            return f"there are no {kind or 'validation '}data any more"
        common = [prefix for prefix in prefixes if f"{prefix}rows" in before and f"{prefix}rows" in now]
        if not common:
            continue
        difference = _compare_sources(_join(before, common), _join(now, common), kind)
        if difference:
            return difference
        if any(not np.array_equal(before[f"{prefix}rows"], now[f"{prefix}rows"]) for prefix in common):
            return f"other {kind}rows of the source are drawn"
    return None


def _compare_sources(before: Arrays, now: Arrays, kind: str) -> str | None:
    """The difference between two states of a source, whose arrays are in the order of its rows."""
    both = [name for name in before if name in now]
    if all(np.array_equal(before[name], now[name]) for name in both):
        return None
    if "paths" in both:
        gone, come = (np.setdiff1d(a["paths"], b["paths"]) for a, b in ((before, now), (now, before)))
        listed = [
            f"{_count(files, f'{kind}image')} {what}, such as {os.fsdecode(files[0])}"
            for files, what in ((gone, "missing"), (come, "added"))
            if len(files)
        ]
        if listed:
            return " and ".join(listed)
    if len(before["rows"]) != len(now["rows"]):
        return f"{len(now['rows'])} {kind}images instead of {len(before['rows'])}"
    rows, old, new = np.intersect1d(before["rows"], now["rows"], assume_unique=True, return_indices=True)
    changed = {name: np.flatnonzero(before[name][old] != now[name][new]) for name in _CONTENT if name in both}
    moved = len(changed.get("checksums", ())) > 0
    if moved and np.array_equal(np.sort(before["checksums"]), np.sort(now["checksums"])):
        return f"the same {kind}images in another order of rows"
    found = []
    for name, places in changed.items():
        if len(places):
            first = places[0]
            where = os.fsdecode(before["paths"][old[first]]) if "paths" in both else f"row {rows[first]}"
            found.append(f"{_count(places, kind + _CONTENT[name])} changed, such as of {where}")
    return " and ".join(found) or None


def _join(data: Arrays, prefixes: list[str]) -> dict[str, np.ndarray]:
    """The arrays of splits that are drawn from one source together, in the order of its rows."""
    names = [name for name in ("rows", "paths", *_CONTENT) if all(prefix + name in data for prefix in prefixes)]
    joined = {name: np.concatenate([data[prefix + name] for prefix in prefixes]) for name in names}
    order = np.argsort(joined["rows"])
    return {name: array[order] for name, array in joined.items()}


def _compute_checksums(examples: Any) -> np.ndarray | None:
    """One number per image; None for images inside a data set's own files, whose labels must do."""
    if hasattr(examples, "images"):
        return np.array([zlib.crc32(image.tobytes()) for image in examples.images], np.uint32)
    if examples.paths is None:
        return None
    sizes = np.zeros(len(examples), np.uint32)
    for i in range(0, len(sizes), 1 + len(sizes) // _STATED):
        sizes[i] = _find_size(examples.encoded.name(examples.rows[i]))
    return sizes


def _find_size(file: str) -> int:
    """In bytes, modulo 2³²; 0 for what cannot be looked at, which reading it will say."""
    try:
        return os.stat(file).st_size % 2**32
    except OSError:
        return 0


def _count(items: np.ndarray, noun: str) -> str:
    return f"{len(items)} {noun}{'s' * (len(items) != 1)}"
