"""A small ImageNet, written by tfds with the features, names and file format of the real one, without TensorFlow."""

import os

import cv2
import numpy as np
from photographs import photographs

COUNTS = {"train": 30, "validation": 12}


def labels(split):
    """Of the images in the order of their numbers."""
    return np.random.default_rng(COUNTS[split]).integers(0, 1000, COUNTS[split])


def write_imagenet2012(directory):
    """Writes it under a tfds data folder; the images differ in size."""
    os.environ.setdefault("NO_GCE_CHECK", "true")
    import tensorflow_datasets as tfds

    images = photographs(32)

    class Small(tfds.core.registered.imported_builder_cls("imagenet2012"), skip_registration=True):
        MANUAL_DOWNLOAD_INSTRUCTIONS = None

        def _split_generators(self, dl_manager):
            return {split: self._examples(split) for split in COUNTS}

        def _examples(self, split):
            for index, label in enumerate(labels(split)):
                file = directory / f"ILSVRC2012_{split[:3]}_{index + 1:08}.JPEG"
                cv2.imwrite(str(file), cv2.resize(images[index % len(images)], (40 + index, 60 - index)))
                yield index, {"file_name": file.name, "image": str(file), "label": int(label)}

    Small.name = "imagenet2012"
    Small(data_dir=directory, file_format="array_record").download_and_prepare(
        download_dir=directory / "downloads",
        download_config=tfds.download.DownloadConfig(try_download_gcs=False),
        file_format="array_record",
    )
