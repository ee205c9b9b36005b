"""What a trained network says of picture files, which it sees as its run's test images were seen."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from datasets.feeds.decoding import DamagedImage, crop_for_evaluation, stretch_for_evaluation
from datasets.feeds.stream import count_usable_cores
from datasets.pictures import LeftOut, escape, find_pictures, read_file
from errors import UserError, one_line
from networks.exported import Spec, TrainedNetwork

BATCH_SIZE = 128
"""Pictures that are classified at once."""


class Predictions(NamedTuple):
    """What a network says of pictures.

    Attributes:
      files: the pictures that could be read, in the given order.
      probabilities: float32 `[N, classes]` of these.
      skipped: the other pictures, and why they could not be read.
    """

    files: Sequence[pathlib.Path]
    probabilities: np.ndarray
    skipped: Mapping[pathlib.Path, str]


def list_files(paths: Iterable[pathlib.Path], left_out: LeftOut) -> list[pathlib.Path]:
    """The files among the paths, and all pictures in the folders among them, with those of their subfolders.

    A file may have any name; which files of a folder are pictures, `datasets.pictures` says. It counts the others in
    `left_out`.

    Raises:
      UserError: when a path does not exist or is neither a file nor a folder, or a folder holds no pictures.
    """
    found = []
    for path in (path.expanduser() for path in paths):
        if not path.exists():
            raise UserError(f"there is no picture and no folder {path}")
        if not path.is_file() and not path.is_dir():
            raise UserError(f"{path} is neither a file nor a folder, but a pipe, socket or device")
        inside = [path] if path.is_file() else [path / name for name in find_pictures(path, left_out)]
        if not inside:
            raise UserError(f"{path} holds no pictures" + (f"; it holds {left_out}" if left_out else ""))
        found += inside
    return found


def predict(network: TrainedNetwork, files: Sequence[pathlib.Path], skip: bool = False) -> Predictions:
    """Classifies pictures on the first device, with one program for all batches.

    Args:
      network: see `trained.load_trained`.
      files: of the pictures.
      skip: whether pictures that cannot be read are left out.

    Raises:
      UserError: when one cannot be read, and they are not left out.
    """
    classify = jax.jit(lambda params, images: jax.nn.softmax(network._replace(params=params).logits(images)))
    params = jax.device_put(network.params)
    images = np.zeros((min(BATCH_SIZE, len(files)), *network.spec.image_shape), np.uint8)
    shown, skipped, probabilities = [], {}, []
    with ThreadPoolExecutor(count_usable_cores()) as pool, tqdm(total=len(files), unit=" images", disable=None) as bar:
        for start in range(0, len(files), len(images)):
            batch, count = files[start : start + len(images)], 0
            for file, image in zip(batch, pool.map(functools.partial(_read, network.spec), batch), strict=True):
                if isinstance(image, np.ndarray):
                    images[count] = image
                    shown.append(file)
                    count += 1
                elif skip:
                    skipped[file] = image
                else:
                    raise UserError(
                        f"{escape(str(file))} cannot be read ({image}); --damaged=skip leaves such pictures out"
                    )
            probabilities.append(np.asarray(classify(params, images))[:count])  # what follows only fills up the batch
            bar.update(len(batch))
    return Predictions(shown, np.concatenate(probabilities), skipped)


def _read(spec: Spec, file: pathlib.Path) -> np.ndarray | str:
    """The pixels that the network sees, uint8 of `image_shape`, or why there are none."""
    try:
        data = read_file(file)
        if spec.resize is None:
            return stretch_for_evaluation(data, spec.image_shape)
        return crop_for_evaluation(data, spec.resize, spec.image_shape[0])
    except (DamagedImage, OSError) as error:
        return one_line(error)
