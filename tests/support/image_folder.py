"""A small image folder of real photographs, of several sizes."""

import pathlib

import cv2
from photographs import photographs

CLASSES = ("n01", "n02", "n03")


def write(root: pathlib.Path, splits=("train", "test"), per_class=5):
    """`root/<split>/<class>/<i>.jpg`; every image of its own size."""
    images = photographs(32)
    for split in splits:
        for k, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(per_class):
                image = cv2.resize(images[(5 * k + i) % len(images)], (40 + 7 * (i % 5) + i // 5, 60 + 3 * k))
                cv2.imwrite(str(folder / f"{i}.jpg"), image)
    return root
