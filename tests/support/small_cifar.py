"""A small CIFAR-10-N, written by tfds with the features, ids and file format of the real one, without TensorFlow."""

import os

import cv2
import numpy as np

NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
HUMAN = ("worse_label", "aggre_label", "random_label1", "random_label2", "random_label3")


def cifar10_n_arrays(split):
    """Images and labels of a split; a tenth of the human labels is the next class."""
    count = {"train": 60, "test": 20}[split]
    rng = np.random.default_rng(count)
    labels = np.arange(count) % 10
    human = np.where(np.arange(count) % 10 == 3, (labels + 1) % 10, labels)
    return rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8), labels, human


def write_cifar10_n(directory):
    """Writes it under a tfds data folder."""
    os.environ.setdefault("NO_GCE_CHECK", "true")
    import tensorflow_datasets as tfds

    class Small(tfds.core.registered.imported_builder_cls("cifar10_n"), skip_registration=True):
        MANUAL_DOWNLOAD_INSTRUCTIONS = None

        def _split_generators(self, dl_manager):
            self.info.features["label"].names = NAMES
            return {split: self._examples(split) for split in ("train", "test")}

        def _examples(self, split):
            for index, (image, label, human) in enumerate(zip(*cifar10_n_arrays(split), strict=True)):
                png = directory / f"{split}_{index}.png"
                cv2.imwrite(str(png), image[..., ::-1])
                row = {"id": f"{split}_{index:05d}", "image": str(png), "label": int(label)}
                row |= {key: int(human) if split == "train" else -1 for key in HUMAN}
                row |= {f"worker{i}_id": -1 for i in (1, 2, 3)} | {f"worker{i}_time": -1.0 for i in (1, 2, 3)}
                yield index, row

    Small.name = "cifar10_n"
    Small(data_dir=directory, file_format="array_record").download_and_prepare(
        download_dir=directory / "downloads",
        download_config=tfds.download.DownloadConfig(try_download_gcs=False),
        file_format="array_record",
    )
