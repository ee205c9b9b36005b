"""Small pictures of training samples, from the data set that the run's config names, as text that a page can hold."""

from __future__ import annotations

import base64
import dataclasses
import io

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

import datasets
from datasets import Examples, Splits, StreamedExamples
from datasets.feeds.decoding import DamagedImage, decode
from errors import UserError
from reports.run_page.recorded import RecordedRun, Samples

SIDE = 64  # pixels; larger images are shrunk
_LOSSLESS_SIDE = 32  # pixels; up to here PNG is small enough


@dataclasses.dataclass(frozen=True)
class Pictures:
    """The images of the training set, by position in it.

    Attributes:
      examples: None where the data are not there.
      missing: why not, in words.
    """

    examples: Examples | StreamedExamples | None
    missing: str | None = None

    def encode(self, position: int) -> str | None:
        """A data URI of at most SIDE pixels; None where there is no picture."""
        image = None if self.examples is None else _read(self.examples, position)
        return None if image is None else _encode(image)


def open_pictures(recorded: RecordedRun, splits: Splits | None) -> Pictures:
    """The images behind a run: those of `splits` if they are still in memory, else read as its config says."""
    if recorded.samples is None:
        return Pictures(None, "The work directory holds no labels.npz, which says which images they are.")
    try:
        train = (splits or datasets.build(ConfigDict(recorded.run.config).dataset)).train
    except (UserError, OSError) as error:
        return Pictures(None, f"The images are not shown, because the data set cannot be read here: {error}.")
    if not _is_same(train, recorded.samples):
        return Pictures(None, "The images are not shown, because the data set has other rows or labels than the run.")
    return Pictures(train)


def _is_same(train: Examples | StreamedExamples, samples: Samples) -> bool:
    return np.array_equal(train.rows, samples.rows) and np.array_equal(train.labels, samples.labels)


def _read(examples: Examples | StreamedExamples, position: int) -> np.ndarray | None:
    if isinstance(examples, Examples):
        return examples.images[position]
    try:
        return decode(examples.encoded.read(int(examples.rows[position])), least=SIDE)
    except (DamagedImage, OSError):
        return None


def _encode(image: np.ndarray) -> str:
    """uint8 `[height, width, 1 or 3]` as a data URI."""
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    picture.thumbnail((SIDE, SIDE))
    kind = "PNG" if max(picture.size) <= _LOSSLESS_SIDE else "WEBP"
    content = io.BytesIO()
    picture.save(content, kind, **({"optimize": True} if kind == "PNG" else {"quality": 70}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(content.getvalue()).decode()}"
