"""Converts Fashion-MNIST to fashion_mnist.npz, which `dataset.name=arrays` reads.

uv run scripts/prepare/fashion_mnist.py --source=DOWNLOADS --out=DATA

Download the four files from https://github.com/zalandoresearch/fashion-mnist (MIT licence). Debian's package
dataset-fashion-mnist has them in /usr/share/datasets/fashion-mnist.
"""

import gzip
import hashlib
import pathlib
import zlib

import numpy as np

import repository  # noqa: F401  (it puts our packages first on Python's path)

from datasets import archives
from datasets.archives import Archive
from errors import UserError

PAGE = "https://github.com/zalandoresearch/fashion-mnist"
# The hashes are those of the decompressed files, as Debian packs the published ones anew.
ARCHIVES = {
    "images": Archive(
        "train-images-idx3-ubyte.gz", PAGE, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
    ),
    "labels": Archive(
        "train-labels-idx1-ubyte.gz", PAGE, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
    ),
    "test_images": Archive(
        "t10k-images-idx3-ubyte.gz", PAGE, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
    ),
    "test_labels": Archive(
        "t10k-labels-idx1-ubyte.gz", PAGE, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
    ),
}
CLASSES = ("t_shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle_boot")


def prepare(source: pathlib.Path, out: pathlib.Path, published: archives.Archives = ARCHIVES) -> None:
    """Reads the IDX files and writes their arrays."""
    archives.check_present(source, published.values())
    arrays = {name: read_idx(source / archive.name, archive.digest) for name, archive in published.items()}
    out.mkdir(parents=True, exist_ok=True)
    file = out / "fashion_mnist.npz"
    np.savez(file, class_names=np.array(CLASSES), **arrays)
    print(f"{file}: {len(arrays['labels']):,} images to train on, {len(arrays['test_labels']):,} to test on")


def read_idx(path: pathlib.Path, digest: str) -> np.ndarray:
    """The array of a gzipped IDX file of bytes: two zeros, type 8, the number of axes, their lengths, the data.

    Raises:
      UserError: when the file is damaged, or its content has another SHA256 than `digest`.
    """
    try:
        data = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} is not a whole gzip file ({error}); download it again from {PAGE}") from None
    found = hashlib.sha256(data).hexdigest()
    if found != digest:
        raise UserError(f"{path} holds data of the SHA256 {found}, but it must be {digest}; download it from {PAGE}")
    axes = data[3]
    shape = np.frombuffer(data, ">i4", axes, 4).tolist()
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)


if __name__ == "__main__":
    archives.run_command(__doc__, prepare)
