"""Unpacks ImageNet-C into imagenet_c/<group>/<corruption>/<severity>/<wnid>/.

uv run scripts/prepare/imagenet_c.py --source=DOWNLOADS --out=DATA

Download noise.tar, blur.tar, weather.tar and digital.tar from https://zenodo.org/record/2235448; extra.tar, four more
corruptions, is no part of the benchmark and unpacked only where it is there.
"""

import functools
import pathlib

import repository  # noqa: F401  (it puts our packages first on Python's path)

from datasets import archives
from datasets.archives import Archive, Archives
from errors import UserError
from evaluation.corruptions import EXTRA, GROUPS, SEVERITIES

PAGE = "https://zenodo.org/record/2235448"
ARCHIVES = {
    "noise": Archive("noise.tar", PAGE, "e80562d7f6c3f8834afb1ecf27252745"),
    "blur": Archive("blur.tar", PAGE, "2d8e81fdd8e07fef67b9334fa635e45c"),
    "weather": Archive("weather.tar", PAGE, "33ffea4db4d93fe4a428c40a6ce0c25d"),
    "digital": Archive("digital.tar", PAGE, "89157860d7b10d5797849337ca2e5c03"),
    "extra": Archive("extra.tar", PAGE, "d492dfba5fc162d8ec2c3cd8ee672984"),
}
COUNTS = (1000, 50_000)  # of every corruption at every severity


def prepare(
    source: pathlib.Path, out: pathlib.Path, published: Archives = ARCHIVES, counts: tuple[int, int] = COUNTS
) -> None:
    """Unpacks the four groups of the benchmark, and the fifth if its archive is there."""
    for group, archive in published.items():
        folder = out / "imagenet_c" / group
        names = GROUPS.get(group, EXTRA)
        expected = {f"{name}/{severity}": counts for name in names for severity in SEVERITIES}
        if group not in GROUPS and not (source / archive.name).exists():
            continue
        if archives.find_missing(folder, expected):
            place = functools.partial(_place, folder, names)
            archives.unpack(archives.verify(source, archive), place)
            archives.check_counts(folder, expected)
        print(f"{folder}: {', '.join(names)}, each {counts[1]:,} images at {len(SEVERITIES)} severities")


def _place(folder: pathlib.Path, names: tuple[str, ...], name: str) -> pathlib.Path:
    """Keeps the corruption, the severity, the class and the file of a name, and drops what comes before."""
    parts = pathlib.PurePosixPath(name).parts[-4:]
    if len(parts) < 4 or parts[0] not in names:
        raise UserError(f"{name} is no image of {', '.join(names)}")
    return folder.joinpath(*parts)


if __name__ == "__main__":
    archives.run_command(__doc__, prepare)
