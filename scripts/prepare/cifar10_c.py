"""Unpacks CIFAR-10-C into cifar10_c/: labels.npy, and <corruption>.npy with all five severities.

uv run scripts/prepare/cifar10_c.py --source=DOWNLOADS --out=DATA

Download CIFAR-10-C.tar from https://zenodo.org/record/2535967.
"""

import pathlib

import numpy as np

import repository  # noqa: F401  (it puts our packages first on Python's path)

from datasets import archives
from datasets.archives import Archive
from errors import UserError
from evaluation.corrupted_sets import CifarFiles
from evaluation.corruptions import CORRUPTIONS, SEVERITIES

CIFAR10_C = Archive(
    "CIFAR-10-C.tar",
    "https://zenodo.org/record/2535967",
    "c72763e101c723b7c507b96205f7e938912a5d587376173b825850cf3cb876a7",
)


def prepare(source: pathlib.Path, out: pathlib.Path, archive: Archive = CIFAR10_C, images: int = 10_000) -> None:
    """Unpacks the arrays and checks their shapes."""
    folder = out / "cifar10_c"
    if not all((folder / f"{name}.npy").exists() for name in ("labels", *CORRUPTIONS)):
        path = archives.verify(source, archive)
        archives.unpack(path, lambda name: folder / pathlib.PurePosixPath(name).name if name.endswith(".npy") else None)
    files = CifarFiles(folder)
    if len(files.labels) != images:
        raise UserError(f"{folder / 'labels.npy'} has {len(files.labels)} images per severity; there must be {images}")
    for name in CORRUPTIONS:
        files.read(name, SEVERITIES[-1], np.arange(1))  # an array of another shape shows now
    print(f"{folder}: {len(CORRUPTIONS)} corruptions, each {images:,} images at {len(SEVERITIES)} severities")


if __name__ == "__main__":
    archives.run_command(__doc__, prepare)
