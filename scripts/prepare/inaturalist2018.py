"""Makes folders of classes, inaturalist2018/train/<category>/ and inaturalist2018/val/<category>/, of iNaturalist 2018.

uv run scripts/prepare/inaturalist2018.py --source=DOWNLOADS --out=DATA

Download train_val2018.tar.gz, train2018.json.tar.gz and val2018.json.tar.gz from
https://ml-inat-competition-datasets.s3.amazonaws.com/2018/. Folders are numbers of categories with four digits, so that
their order is that of the published numbers.
"""

import json
import pathlib

import repository  # noqa: F401  (it puts our packages first on Python's path)

from datasets import archives
from datasets.archives import Archive, Archives, Counts
from errors import UserError

PAGE = "https://github.com/visipedia/inat_comp/tree/master/2018"
ARCHIVES = {
    "images": Archive("train_val2018.tar.gz", PAGE, "b1c6952ce38f31868cc50ea72d066cc3"),
    "train": Archive("train2018.json.tar.gz", PAGE, "bfa29d89d629cbf04d826a720c0a68b0"),
    "val": Archive("val2018.json.tar.gz", PAGE, "f2ed8bfe3e9901cdefceb4e53cd3775d"),
}
COUNTS = {"train": (8142, 437_513), "val": (8142, 24_426)}


def prepare(source: pathlib.Path, out: pathlib.Path, published: Archives = ARCHIVES, counts: Counts = COUNTS) -> None:
    """Unpacks both splits in one pass over the images."""
    folder = out / "inaturalist2018"
    if archives.find_missing(folder, counts):
        archives.check_present(source, published.values())
        places: dict[str, pathlib.Path] = {}
        for split, (classes, images) in counts.items():
            categories = read_annotations(archives.verify(source, published[split]), f"{split}2018.json")
            if len(categories) != images or set(categories.values()) != set(range(classes)):
                raise UserError(
                    f"{source / published[split].name} must hold {images} images of categories 0 to {classes - 1}"
                )
            places |= {
                name: folder / split / f"{category:04}" / pathlib.PurePosixPath(name).name
                for name, category in categories.items()
            }
        archives.unpack(archives.verify(source, published["images"]), places.get)
    archives.finish(folder, counts)


def read_annotations(path: pathlib.Path, name: str) -> dict[str, int]:
    """The category of each image by its name in the archive of images."""
    content = json.loads(archives.read_member(path, name))
    files = {image["id"]: image["file_name"] for image in content["images"]}
    return {files[annotation["image_id"]]: annotation["category_id"] for annotation in content["annotations"]}


if __name__ == "__main__":
    archives.run_command(__doc__, prepare)
