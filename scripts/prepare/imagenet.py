"""Makes folders of classes, imagenet/train/<wnid>/ and imagenet/val/<wnid>/, of ImageNet-1k (ILSVRC2012).

uv run scripts/prepare/imagenet.py --source=DOWNLOADS --out=DATA

Download, with an account of https://image-net.org that has accepted its terms: ILSVRC2012_img_train.tar,
ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz, which holds the labels of the validation images.
"""

import functools
import io
import pathlib

import repository  # noqa: F401  (it puts our packages first on Python's path)

from datasets import archives
from datasets.archives import Archive, Archives, Counts
from errors import UserError

PAGE = "https://image-net.org/download.php"
ARCHIVES = {
    "train": Archive("ILSVRC2012_img_train.tar", PAGE, "1d675b47d978889d74fa0da5fadfb00e"),
    "val": Archive("ILSVRC2012_img_val.tar", PAGE, "29b22e2961454d5413ddabcf34fc5622"),
    "devkit": Archive("ILSVRC2012_devkit_t12.tar.gz", PAGE, "fa75699e90414af021442c21a62c3abf"),
}
COUNTS = {"train": (1000, 1_281_167), "val": (1000, 50_000)}


def prepare(source: pathlib.Path, out: pathlib.Path, published: Archives = ARCHIVES, counts: Counts = COUNTS) -> None:
    """Unpacks both splits, or the one that is missing."""
    folder = out / "imagenet"
    missing = archives.find_missing(folder, counts)
    archives.check_present(source, [published[name] for name in (*missing, *(["devkit"] if "val" in missing else []))])
    if "val" in missing:
        labels = validation_labels(archives.verify(source, published["devkit"]), counts["val"])
        place = functools.partial(_place_validation, folder / "val", labels)
        archives.unpack(archives.verify(source, published["val"]), place)
    if "train" in missing:
        place = functools.partial(_place_training, folder / "train")
        archives.unpack(archives.verify(source, published["train"]), place, nested=True)
    archives.finish(folder, counts)
    train, val = (sorted(path.name for path in (folder / split).iterdir()) for split in ("train", "val"))
    if train != val:
        raise UserError(f"{folder} has other classes in train than in val")


def validation_labels(devkit: pathlib.Path, counts: tuple[int, int]) -> list[str]:
    """The WordNet id of each validation image, in the order of their numbers, from the development kit.

    The kit has its own numbers for the classes; `meta.mat` translates.
    """
    import scipy.io

    data = "ILSVRC2012_devkit_t12/data"
    synsets = scipy.io.loadmat(io.BytesIO(archives.read_member(devkit, f"{data}/meta.mat")), squeeze_me=True)["synsets"]
    wnids = {int(synset["ILSVRC2012_ID"]): str(synset["WNID"]) for synset in synsets if synset["num_children"] == 0}
    classes, images = counts
    if classes == len(archives.read_imagenet_classes()) and sorted(wnids.values()) != archives.read_imagenet_classes():
        raise UserError(f"{devkit} has other classes than ImageNet-1k")
    truth = archives.read_member(devkit, f"{data}/ILSVRC2012_validation_ground_truth.txt").split()
    if len(wnids) != classes or len(truth) != images:
        raise UserError(
            f"{devkit} has {len(wnids)} classes and {len(truth)} labels; there must be {classes} and {images}"
        )
    return [wnids[int(number)] for number in truth]


def _place_training(folder: pathlib.Path, name: str) -> pathlib.Path:
    """From n01440764_18.JPEG to n01440764/n01440764_18.JPEG."""
    return folder / name.split("_")[0] / name


def _place_validation(folder: pathlib.Path, labels: list[str], name: str) -> pathlib.Path:
    """From ILSVRC2012_val_00000001.JPEG to <its class>/ILSVRC2012_val_00000001.JPEG."""
    number = int(name.removeprefix("ILSVRC2012_val_").removesuffix(".JPEG"))
    return folder / labels[number - 1] / name


if __name__ == "__main__":
    archives.run_command(__doc__, prepare)
