"""Checks the reassessed labels of ImageNet's validation images (ReaL, arXiv 2006.07159); puts them into imagenet_real/.

uv run scripts/prepare/imagenet_real.py --source=DOWNLOADS --out=DATA

Download real.json from https://raw.githubusercontent.com/google-research/reassessed-imagenet/master/real.json. The
images are those of ImageNet's own validation set: scripts/prepare/imagenet.py.
"""

import json
import pathlib
import shutil

import repository  # noqa: F401  (it puts our packages first on Python's path)

from datasets import archives
from datasets.archives import Archive
from errors import UserError

REAL = Archive(
    "real.json",
    "https://github.com/google-research/reassessed-imagenet",
    "d83e9bff374c631aae8439eb064c7019acc56e1b3bc3f56b8380c2a710b0220b",
)


def prepare(
    source: pathlib.Path, out: pathlib.Path, real: Archive = REAL, images: int = 50_000, classes: int = 1000
) -> None:
    """Checks the file's hash, and that it lists the classes of each image, which may be none."""
    path = archives.verify(source, real)
    lists = json.loads(path.read_text())
    if not isinstance(lists, list) or len(lists) != images:
        raise UserError(f"{path} must hold {images} lists of classes")
    for number, labels in enumerate(lists, 1):
        if not isinstance(labels, list) or not all(type(label) is int and 0 <= label < classes for label in labels):
            raise UserError(
                f"{path}: image {number} has {labels!r}; it must be a list of classes from 0 to {classes - 1}"
            )
    destination = out / "imagenet_real" / real.name
    destination.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, destination)
    print(f"{destination}: {images:,} images, {sum(not labels for labels in lists):,} of them without labels")


if __name__ == "__main__":
    archives.run_command(__doc__, prepare)
