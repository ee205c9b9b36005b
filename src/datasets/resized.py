"""Image folders in memory: each picture is decoded once, stretched to a square, and kept in the cache."""

from __future__ import annotations

import dataclasses
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from tqdm import tqdm

from datasets import folders
from datasets.cache import Arrays, read_through_cache
from datasets.examples import Examples, Source, StreamedExamples
from datasets.memory import find_free_memory
from datasets.pictures import escape
from errors import UserError, one_line

_COPIES = 2  # of the images, on the host and on a CPU that stands for a device
_DECODING = 2  # changes when pictures come to be decoded to other pixels, so that those in the cache are not used


def load(config: Any) -> Source:
    """Reads all pictures of the folder that `config.dataset` names, as RGB of `image_size` × `image_size` pixels.

    Grey pictures get three equal channels, as they do when they are streamed: a folder may hold both kinds, and
    pretrained networks expect three.

    Raises:
      UserError: as `folders.load`; or a picture cannot be decoded and is not skipped; or memory does not suffice.
    """
    if config.image_size is None:
        raise UserError(
            f"dataset.image_size is {config.image_size}; with dataset.feed=resident the pictures of a folder are "
            "resized to squares of this side, such as 64"
        )
    source = folders.load(config.path, config.image_size, config.test_split)
    _check_memory(sum(map(len, source.splits().values())), config.image_size)
    skip = config.stream.damaged == "skip"
    train, val, test = (
        None if files is None else _read_split(split, files, skip)
        for split, files in (("train", source.train), ("val", source.val), ("test", source.test))
    )
    assert train is not None  # every folder has pictures to train on
    return dataclasses.replace(source, train=train, val=val, test=test)


def _read_split(split: str, files: Any, skip: bool) -> Examples:
    """The pictures of a split, `StreamedExamples`, without those that are skipped; `rows` stay those of the source."""
    names = [files.encoded.name(row) for row in files.rows.tolist()]
    fingerprint = repr((_DECODING, files.image_shape, [(os.path.abspath(name), _stat(name)) for name in names]))
    arrays = read_through_cache(f"folder-{split}", fingerprint, lambda: _decode(files))
    damaged = arrays["damaged"].tolist()
    if damaged and not skip:
        others = f", nor can {len(damaged) - 1} more" if len(damaged) > 1 else ""
        raise UserError(
            f"{escape(names[damaged[0]])} cannot be decoded ({arrays['reasons'][0]}){others}; repair or remove such "
            "files, or set dataset.stream.damaged=skip"
        )
    if len(damaged) == len(files):
        raise UserError(f"dataset.path: not one of the {len(files)} pictures of {split!r} can be decoded")
    examples = Examples(
        labels=files.labels,
        clean_labels=files.clean_labels,
        rows=files.rows,
        images=arrays["images"],
        paths=files.paths,
        skipped=frozenset(names[row] for row in damaged),
    )
    return examples.take(np.delete(np.arange(len(files)), damaged)) if damaged else examples


def _decode(files: StreamedExamples) -> Arrays:
    """All images, uint8 `[N, side, side, 3]`, and which of them stay black because they could not be decoded, and why.

    Pixels are those that `evaluation.predict` shows to a network.
    """
    from datasets.feeds.decoding import DamagedImage, stretch_for_evaluation
    from datasets.feeds.stream import count_usable_cores

    images, rows = np.zeros((len(files), *files.image_shape), np.uint8), files.rows.tolist()

    def read(row: int) -> str | None:
        try:
            images[row] = stretch_for_evaluation(files.encoded.read(rows[row]), files.image_shape)
        except (DamagedImage, OSError) as error:
            return one_line(error)
        return None

    print(f"reading {len(files):,} pictures; the next run finds them in the cache", file=sys.stderr)
    with ThreadPoolExecutor(count_usable_cores()) as pool:
        results = pool.map(read, range(len(files)))
        reasons = list(tqdm(results, total=len(files), unit=" pictures", leave=False, disable=None))
    damaged = np.array([row for row, reason in enumerate(reasons) if reason is not None], np.int64)
    return {"images": images, "damaged": damaged, "reasons": np.array([reasons[row] for row in damaged], np.str_)}


def _stat(name: str) -> tuple[int, int] | None:
    try:
        found = os.stat(name)
    except OSError:  # a link to nowhere is a damaged picture
        return None
    return found.st_size, found.st_mtime_ns


def _check_memory(count: int, side: int) -> None:
    needed, free = _COPIES * count * side**2 * 3, find_free_memory()
    if needed > free:
        raise UserError(
            f"dataset.feed is 'resident'; {count:,} pictures of {side} × {side} pixels need {needed / 1e9:.1f} GB of "
            f"memory, and {free / 1e9:.1f} GB are free; choose a smaller dataset.image_size, or dataset.feed=stream"
        )
