"""Makes folders of classes, places365/train/<class>/ and places365/val/<class>/, of Places365-Standard at 256 pixels.

uv run scripts/prepare/places365.py --source=DOWNLOADS --out=DATA

Download train_256_places365standard.tar, val_256.tar and filelist_places365-standard.tar from
http://data.csail.mit.edu/places/places365/. Folders begin with the number of the class, such as
000-airfield and 008-apartment_building-outdoor, so that their order is that of the published numbers.
"""

import functools
import pathlib
from collections.abc import Mapping

import repository  # noqa: F401  (it puts our packages first on Python's path)

from datasets import archives
from datasets.archives import Archive, Archives, Counts
from errors import UserError

PAGE = "http://places2.csail.mit.edu/download.html"
ARCHIVES = {
    "train": Archive("train_256_places365standard.tar", PAGE, "53ca1c756c3d1e7809517cc47c5561c5"),
    "val": Archive("val_256.tar", PAGE, "e27b17d8d44f4af9a78502beb927f808"),
    "lists": Archive("filelist_places365-standard.tar", PAGE, "35a0585fee1fa656440f3ab298f8479c"),
}
COUNTS = {"train": (365, 1_803_460), "val": (365, 36_500)}
LISTS = {"train": "places365_train_standard.txt", "val": "places365_val.txt"}


def prepare(source: pathlib.Path, out: pathlib.Path, published: Archives = ARCHIVES, counts: Counts = COUNTS) -> None:
    """Unpacks both splits, or the one that is missing."""
    folder = out / "places365"
    missing = archives.find_missing(folder, counts)
    archives.check_present(source, [published[name] for name in ("lists", *missing) if missing])
    for split in missing:
        classes, images = counts[split]
        lists = archives.verify(source, published["lists"])
        labels = read_list(lists, LISTS[split])
        if len(labels) != images or set(labels.values()) != set(range(classes)):
            raise UserError(f"{lists}: {LISTS[split]} must list {images} images of classes 0 to {classes - 1}")
        place = functools.partial(_place, folder / split, class_folders(lists, classes), labels)
        archives.unpack(archives.verify(source, published[split]), place)
    archives.finish(folder, counts)


def class_folders(lists: pathlib.Path, count: int) -> list[str]:
    """The name of each class's folder, by the number of the class."""
    numbers = read_list(lists, "categories_places365.txt")
    if sorted(numbers.values()) != list(range(count)):
        raise UserError(f"{lists}: categories_places365.txt must list the classes 0 to {count - 1}")
    # A class is called /a/airfield or /a/apartment_building/outdoor.
    names = {number: "-".join(name.split("/")[1:]) for name, number in numbers.items()}
    return [f"{number:03}-{names[number]}" for number in range(count)]


def read_list(lists: pathlib.Path, name: str) -> dict[str, int]:
    """Reads a list of names and numbers; a slash at the start of a name is dropped."""
    lines = (line.split() for line in archives.read_member(lists, name).decode().splitlines())
    return {entry.lstrip("/"): int(number) for entry, number in lines}


def _place(folder: pathlib.Path, names: list[str], labels: Mapping[str, int], name: str) -> pathlib.Path | None:
    """Where a file belongs; its name in the archive begins with a folder that the lists leave out."""
    _, _, listed = name.partition("/")
    return folder / names[labels[listed]] / pathlib.PurePosixPath(name).name if listed in labels else None


if __name__ == "__main__":
    archives.run_command(__doc__, prepare)
