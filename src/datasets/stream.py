"""The feed from disk: Grain's threads or processes read, decode and crop pictures ahead of the devices.

Which pictures a batch has, and how each is cropped, depends on the seed, the epoch and the row alone; so it is the same
for any number of threads, worker processes and hosts. The number of batches that are done is all the state there is:
reading goes on from any block of any pass, and through the end of a pass into the next one.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import threading
from collections.abc import Generator
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from datasets import pictures
from datasets.listing import Listing
from datasets.passes import Passes
from errors import UserError

Item = dict[str, np.ndarray]

_CHUNK = 16
"""Pictures that a thread or a worker hands over at once, at most. One by one, what Grain and the transport between
processes cost for each is more than half of what decoding does."""
_QUEUED = 1  # chunks that a worker has handed over to shared memory, besides the one that is being taken
_ENDLESS = 2**40  # chunks; Grain wants to know how many there are


class Stream:
    """A listing as `config` wants it read."""

    def __init__(self, listing: Listing, config: Any, resize: int | None = None):
        """Reads nothing yet.

        Args:
          listing: the split.
          config: of the run; `dataset.stream` and `augment.crop_area` are read.
          resize: what pictures are evaluated at in place of `dataset.stream.resize`.

        Raises:
          UserError: when a field has an impossible value, or the workers more pictures than shared memory holds.
        """
        stream, crop_area, size = config.dataset.stream, config.augment.crop_area, listing.image_shape[0]
        for field, least in (("threads", 0), ("workers", 0), ("buffer", 1), ("resize", size)):
            if stream[field] < least and (field != "resize" or resize is None):
                raise UserError(f"dataset.stream.{field} is {stream[field]}; it must be at least {least}")
        if stream.damaged not in ("fail", "skip"):
            raise UserError(f"dataset.stream.damaged is {stream.damaged!r}; it must be fail or skip")
        if not 0 < crop_area <= 1:
            raise UserError(f"augment.crop_area is {crop_area}; it must be a share in (0, 1]")
        if stream.workers:
            _check_shared_memory(stream.workers, (_QUEUED + 2) * _CHUNK * int(np.prod(listing.image_shape)))
        self.buffer = stream.buffer
        self.skipped: set[str] = set()
        self._listing, self._workers = listing, stream.workers
        self._threads = stream.threads or (1 if stream.workers else usable_cores())
        self._resize, self._crop_area, self._skip = resize or stream.resize, crop_area, stream.damaged == "skip"

    def __len__(self) -> int:
        return len(self._listing)

    def read(self, passes: Passes, columns: np.ndarray, epoch: int, block: int) -> Generator[Item, None, None]:
        """Blocks without end, of one pass after the other; those who stop asking close it.

        Args:
          passes: over the listing, which say what is read when. Shuffled passes have random crops, decided by seed,
            epoch and row; the others have the central crop of evaluation.
          columns: int `[n]`, which columns of each batch are read.
          epoch: the pass to begin with.
          block: of that pass.

        Yields:
          For each block `image` uint8 `[steps, n, H, W, 3]`, `label` int32, `index` int32 and `mask` float32 `[steps,
          n]`. Rows that only fill up a batch and pictures that are skipped have mask 0.

        Raises:
          UserError: when a picture cannot be decoded and that is not to be skipped.
        """
        chunks = _Chunks(passes, columns, epoch * len(passes) + block)
        items = iter(self._dataset(chunks, _Load(self._listing, self._resize, self._crop_area, self._skip)))
        try:
            while True:
                rows, mask, _ = passes.block(epoch, block)
                rows, mask = rows[:, columns], mask[:, columns]
                parts = [next(items) for _ in range(chunks.of_block)]
                image, decoded = (np.concatenate([part[name] for part in parts]) for name in ("image", "decoded"))
                del parts  # their shared memory
                decoded = decoded.reshape(rows.shape)
                for row in rows[(mask > 0) & ~decoded].tolist():
                    self.skipped.add(self._listing.pictures.name(int(self._listing.rows[row])))
                yield {
                    "image": image.reshape(*rows.shape, *self._listing.image_shape),
                    "label": self._listing.labels[rows],
                    "index": rows,
                    "mask": (mask * decoded).astype(np.float32),
                }
                epoch, block = (epoch, block + 1) if block + 1 < len(passes) else (epoch + 1, 0)
        finally:
            items.close()

    def _dataset(self, chunks: _Chunks, load: _Load) -> Any:
        """Grain's dataset; its threads and processes take one chunk after the other, and give them back in order."""
        import grain

        ahead = self.buffer * chunks.of_block
        each = -(-ahead // self._workers) if self._workers else max(ahead, 2 * self._threads)
        read_ahead = grain.ReadOptions(num_threads=self._threads, prefetch_buffer_size=each)
        dataset = grain.MapDataset.source(chunks).map(load).to_iter_dataset(read_ahead)
        if self._workers:
            if not flags.FLAGS.is_parsed():  # Grain reads absl's flags, which not every program has
                flags.FLAGS.mark_as_parsed()
            options = grain.MultiprocessingOptions(self._workers, per_worker_buffer_size=_QUEUED)
            dataset = dataset.mp_prefetch(options, _end_with_the_parent)
        return dataset


def usable_cores() -> int:
    """The cores that this process may use, which a cluster makes fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _end_with_the_parent(*_: int) -> None:
    """In a worker: it must not outlive a parent that was killed, nor keep its shared memory."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _check_shared_memory(workers: int, each: int) -> None:
    """Refuses more workers than shared memory holds pictures for: the kernel would end the process without a word."""
    if os.path.isdir("/dev/shm") and workers * each > (free := shutil.disk_usage("/dev/shm").free):
        raise UserError(
            f"dataset.stream.workers is {workers}; they need {workers * each / 1e6:.0f} MB of shared memory, and "
            f"/dev/shm has {free / 1e6:.0f} MB (containers: docker run --shm-size)"
        )


class _Chunk(NamedTuple):
    """Some rows of a block: int32 `[k]`, whether each is to be read, and seed and epoch of random crops or None."""

    rows: np.ndarray
    wanted: np.ndarray
    crops: tuple[int, int] | None


class _Chunks:
    """The blocks of all passes from `first` on, cut into chunks of nearly equal size, as Grain's source.

    Attributes:
      of_block: chunks in a block.
    """

    def __init__(self, passes: Passes, columns: np.ndarray, first: int):
        self._passes, self._columns, self._first = passes, columns, first
        self._size = passes.steps * len(columns)
        self.of_block = -(-self._size // _CHUNK)

    def __len__(self) -> int:
        return _ENDLESS

    def __getitem__(self, i: Any) -> _Chunk:
        block, chunk = divmod(i, self.of_block)
        epoch, block = divmod(self._first + block, len(self._passes))
        rows, mask, _ = self._passes.block(epoch, block)
        part = slice(chunk * self._size // self.of_block, (chunk + 1) * self._size // self.of_block)
        seed = self._passes.seed
        return _Chunk(
            rows[:, self._columns].ravel()[part],
            mask[:, self._columns].ravel()[part] > 0,
            None if seed is None else (seed, epoch),
        )


class _Load:
    """From rows to their cropped pictures; a copy of it works in every thread and process."""

    def __init__(self, listing: Listing, resize: int, crop_area: float, skip: bool):
        self._pictures, self._rows, self._shape = listing.pictures, listing.rows, listing.image_shape
        self._resize, self._crop_area, self._skip = resize, crop_area, skip

    def __call__(self, chunk: _Chunk) -> Item:
        image, decoded = np.zeros((len(chunk.rows), *self._shape), np.uint8), np.zeros(len(chunk.rows), bool)
        for i in np.flatnonzero(chunk.wanted).tolist():
            row = int(chunk.rows[i])
            try:
                image[i], decoded[i] = self._crop(row, chunk.crops), True
            except (pictures.DamagedPicture, OSError) as error:
                if not self._skip:
                    raise UserError(
                        f"{self._pictures.name(int(self._rows[row]))} cannot be decoded ({error}); mend or remove it, "
                        "or set dataset.stream.damaged=skip"
                    ) from None
        return {"image": image, "decoded": decoded}

    def _crop(self, row: int, crops: tuple[int, int] | None) -> np.ndarray:
        data, size = self._pictures.read(int(self._rows[row])), self._shape[0]
        if crops is None:
            return pictures.evaluation_crop(data, self._resize, size)
        return pictures.training_crop(data, size, self._crop_area, np.random.default_rng([*crops, row]))
