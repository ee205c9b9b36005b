"""The feed from disk: Grain's threads or processes read, decode and crop pictures ahead of the devices.

Which pictures a batch has, and how each is cropped, depends on the seed, the epoch and the row alone; so it is the same
for any number of threads, worker processes and hosts. The number of batches that are done is all the state there is: a
pass goes on by leaving them out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from absl import flags

from datasets import pictures
from datasets.listing import Listing
from errors import UserError

Item = dict[str, np.ndarray]


class Stream:
    """A listing as `config` wants it read."""

    def __init__(self, listing: Listing, config: Any):
        """Reads nothing yet.

        Args:
          listing: the split.
          config: of the run; `dataset.stream` and `augment.crop_area` are read.

        Raises:
          UserError: when a field has an impossible value.
        """
        stream, crop_area = config.dataset.stream, config.augment.crop_area
        for field, least in (("threads", 0), ("workers", 0), ("buffer", 1), ("resize", listing.image_shape[0])):
            if stream[field] < least:
                raise UserError(f"dataset.stream.{field} is {stream[field]}; it must be at least {least}")
        if stream.damaged not in ("fail", "skip"):
            raise UserError(f"dataset.stream.damaged is {stream.damaged!r}; it must be fail or skip")
        if not 0 < crop_area <= 1:
            raise UserError(f"augment.crop_area is {crop_area}; it must be a share in (0, 1]")
        self.buffer = stream.buffer
        self.skipped: set[str] = set()
        self._listing, self._workers = listing, stream.workers
        self._threads = stream.threads or (1 if stream.workers else os.cpu_count())
        self._resize, self._crop_area, self._skip = stream.resize, crop_area, stream.damaged == "skip"

    def __len__(self) -> int:
        return len(self._listing)

    def read(
        self, blocks: Sequence[tuple[np.ndarray, np.ndarray]], crops: tuple[int, int] | None
    ) -> Iterator[dict[str, np.ndarray]]:
        """The batches of some blocks.

        Args:
          blocks: rows of the listing and mask, each `[steps, B]`; where the mask is 0, nothing is read.
          crops: seed and epoch of random crops; None for the central crop of evaluation.

        Yields:
          For each block `image` uint8 `[steps, B, H, W, 3]`, `label` int32, `index` int32 and `mask` float32 `[steps,
          B]`; pictures that are skipped have mask 0.

        Raises:
          UserError: when a picture cannot be decoded and that is not to be skipped.
        """
        shape = blocks[0][0].shape
        rows = np.concatenate([rows.ravel() for rows, _ in blocks])
        wanted = np.concatenate([mask.ravel() for _, mask in blocks]) > 0
        load = _Load(self._listing, self._resize, self._crop_area, self._skip, crops)
        items = iter(self._dataset(rows, wanted, load, rows[: shape[0] * shape[1]].size))
        for rows, mask in blocks:
            item = next(items)
            image, decoded = item["image"].reshape(*shape, *self._listing.image_shape), item["decoded"].reshape(shape)
            for row in rows[(mask > 0) & ~decoded].tolist():
                self.skipped.add(self._listing.pictures.name(int(self._listing.rows[row])))
            yield {
                "image": image,
                "label": self._listing.labels[rows],
                "index": rows,
                "mask": (mask * decoded).astype(np.float32),
            }

    def _dataset(self, rows: np.ndarray, wanted: np.ndarray, load: _Load, batch_size: int) -> Any:
        """Grain's dataset of batches. Single pictures go through threads and processes, whose order is fixed then."""
        import grain

        ahead = -(-self.buffer * batch_size // max(self._workers, 1))  # of each worker
        read_ahead = grain.ReadOptions(num_threads=self._threads, prefetch_buffer_size=ahead)
        dataset = grain.MapDataset.source(_Wanted(rows, wanted)).map(load).to_iter_dataset(read_ahead)
        if self._workers:
            if not flags.FLAGS.is_parsed():  # Grain reads absl's flags, which not every program has
                flags.FLAGS.mark_as_parsed()
            dataset = dataset.mp_prefetch(grain.MultiprocessingOptions(num_workers=self._workers))
        return dataset.batch(batch_size)


class _Wanted:
    """Rows, and whether each is to be read, as Grain's source."""

    def __init__(self, rows: np.ndarray, wanted: np.ndarray):
        self._rows, self._wanted = rows, wanted

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, i: Any) -> tuple[int, bool]:
        return int(self._rows[i]), bool(self._wanted[i])


class _Load:
    """From a row to its cropped picture; a copy of it works in every thread and process."""

    def __init__(self, listing: Listing, resize: int, crop_area: float, skip: bool, crops: tuple[int, int] | None):
        self._pictures, self._rows, self._shape = listing.pictures, listing.rows, listing.image_shape
        self._resize, self._crop_area, self._skip, self._crops = resize, crop_area, skip, crops

    def __call__(self, item: tuple[int, bool]) -> Item:
        row, wanted = item
        if wanted:
            try:
                return {"image": self._crop(row), "decoded": np.array(True)}
            except (pictures.DamagedPicture, OSError) as error:
                if not self._skip:
                    raise UserError(
                        f"{self._pictures.name(int(self._rows[row]))} cannot be decoded ({error}); mend or remove it, "
                        "or set dataset.stream.damaged=skip"
                    ) from None
        return {"image": np.zeros(self._shape, np.uint8), "decoded": np.array(False)}

    def _crop(self, row: int) -> np.ndarray:
        data, size = self._pictures.read(int(self._rows[row])), self._shape[0]
        if self._crops is None:
            return pictures.evaluation_crop(data, self._resize, size)
        return pictures.training_crop(data, size, self._crop_area, np.random.default_rng([*self._crops, row]))
