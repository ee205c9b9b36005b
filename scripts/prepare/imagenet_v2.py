"""Makes folders of classes, imagenet_v2*/<wnid>/, of the three variants of ImageNet-V2.

uv run scripts/prepare/imagenet_v2.py --source=DOWNLOADS --out=DATA

Download any of imagenetv2-matched-frequency.tar.gz (imagenet_v2, the one that papers report),
imagenetv2-threshold0.7.tar.gz and imagenetv2-top-images.tar.gz from
https://huggingface.co/datasets/vaishaal/ImageNetV2/resolve/main/. Their folders are numbers of classes, 0 to 999.
"""

import functools
import pathlib
from collections.abc import Sequence

import repository  # noqa: F401  (it puts our packages first on Python's path)

from datasets import archives
from datasets.archives import Archive, Archives
from errors import UserError

PAGE = "https://huggingface.co/datasets/vaishaal/ImageNetV2"
ARCHIVES = {
    "imagenet_v2": Archive(
        "imagenetv2-matched-frequency.tar.gz",
        PAGE,
        "f0c37fdf925916b19ea1323cd9a2208cdb6959ba2c32eef2a7fc393835c9ca7c",
    ),
    "imagenet_v2_threshold0.7": Archive(
        "imagenetv2-threshold0.7.tar.gz",
        PAGE,
        "32142bfe998f9cfa4141be691f6a80eeb1e27b24bd532a668eb08c26d98897a2",
    ),
    "imagenet_v2_top_images": Archive(
        "imagenetv2-top-images.tar.gz",
        PAGE,
        "85e4ace30f3f0d660152062254b8759dda66267b27f7ec0fd8d5768f1073a04b",
    ),
}
IMAGES_PER_CLASS = 10


def prepare(
    source: pathlib.Path, out: pathlib.Path, published: Archives = ARCHIVES, classes: Sequence[str] | None = None
) -> None:
    """Unpacks the variants whose archives are there."""
    classes = classes or archives.read_imagenet_classes()
    counts = (len(classes), IMAGES_PER_CLASS * len(classes))
    missing = archives.find_missing(out, dict.fromkeys(published, counts))
    present = [name for name, archive in published.items() if name not in missing or (source / archive.name).exists()]
    if not present:
        names = ", ".join(archive.name for archive in published.values())
        raise UserError(f"there is none of {names} in {source}; download one from {PAGE}")
    for name in set(present) & set(missing):
        archives.unpack(archives.verify(source, published[name]), functools.partial(_place, out / name, classes))
    archives.finish(out, dict.fromkeys(present, counts))


def _place(folder: pathlib.Path, classes: Sequence[str], name: str) -> pathlib.Path:
    """From <variant>/<number of the class>/<image> to <wnid>/<image>."""
    number, file = pathlib.PurePosixPath(name).parts[-2:]
    if not number.isdecimal() or int(number) >= len(classes):
        raise UserError(f"{name} lies in no folder of a class from 0 to {len(classes) - 1}")
    return folder / classes[int(number)] / file


if __name__ == "__main__":
    archives.run_command(__doc__, prepare)
