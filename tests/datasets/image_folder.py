"""A small image folder of real photographs, of several sizes."""

import pathlib

import cv2

from tests.datasets.photographs import photographs

CLASSES = ("n01", "n02", "n03")


def write(root: pathlib.Path, splits=("train", "val"), per_class=5):
    """`root/<split>/<class>/<i>.jpg`; every picture of its own size."""
    pictures = photographs(32)
    for split in splits:
        for k, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(per_class):
                picture = cv2.resize(pictures[(5 * k + i) % len(pictures)], (40 + 7 * (i % 5) + i // 5, 60 + 3 * k))
                cv2.imwrite(str(folder / f"{i}.jpg"), picture)
    return root
