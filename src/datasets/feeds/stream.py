"""The feed from disk: Grain's threads or processes read, decode and crop images ahead of the devices.

Which images a batch has, and how each is cropped, depends only on the seed, the epoch and the row, so it is the same
for any number of threads, worker processes and hosts. The only state is the number of finished batches: reading can
start at any block of any pass, and continues from the end of a pass into the next one.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import threading
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags

from datasets.examples import StreamedExamples
from datasets.feeds import decoding
from datasets.feeds.batches import Block, Feed, Stacked
from datasets.feeds.order import BatchOrder
from datasets.pictures import escape
from errors import UserError, one_line
from parallel import devices

Item = dict[str, np.ndarray]

_CHUNK = 16
"""Images that a thread or a worker hands over at once, at most. Handed over one by one, they would cost Grain and the
transport between processes more than half of the time that decoding takes."""
_QUEUED = 1  # chunks that a worker keeps in shared memory, besides the one being taken
_ENDLESS = 2**40  # chunks; Grain asks how many there are


class Stream:
    """The examples of a split, read as the config says."""

    def __init__(self, examples: StreamedExamples, config: Any, resize: int | None = None):
        """Checks the config; nothing is read yet.

        Args:
          examples: the split.
          config: of the run; `dataset.stream` and the crop's fields in `augment` are used.
          resize: pixels; shorter side of evaluated images in place of `dataset.stream.resize`.

        Raises:
          UserError: images are resized to less than the crop, or the workers need more shared memory than there is.
        """
        stream, augment, size = config.dataset.stream, config.augment, examples.image_shape[0]
        if resize is None and stream.resize < size:
            raise UserError(f"dataset.stream.resize is {stream.resize}; it must be at least {size}, the crop's side")
        if stream.workers:
            _check_shared_memory(stream.workers, (_QUEUED + 2) * _CHUNK * int(np.prod(examples.image_shape)))
        self.buffer = stream.buffer
        self.skipped: set[str] = set()
        self._examples, self._workers = examples, stream.workers
        self._threads = stream.threads or (1 if stream.workers else count_usable_cores())
        crops = resize or stream.resize, augment.crop_area, augment.crop_like_tensorflow, stream.damaged == "skip"
        self._crops = _Crops(examples, *crops)

    def __len__(self) -> int:
        return len(self._examples)

    def read(self, order: BatchOrder, columns: np.ndarray, epoch: int, block: int) -> Generator[Item, None, None]:
        """Yields blocks of one pass after the other, without end; close the generator to stop the reading.

        Args:
          order: says which rows are read when. Shuffled passes have random crops, decided by seed, epoch and row; the
            others have the central crop of evaluation.
          columns: int `[n]`, which columns of each batch are read.
          epoch: the pass to begin with.
          block: the block of that pass to begin with.

        Yields:
          For each block `image` uint8 `[steps, n, H, W, 3]`, `label` int32, `index` int32 and `mask` float32 `[steps,
          n]`. Rows that only fill up a batch and images that are skipped have mask 0.

        Raises:
          UserError: an image cannot be decoded, and `dataset.stream.damaged` is not skip.
        """
        chunks = _Chunks(order, columns, epoch * len(order) + block, self._crops)
        items = iter(self._open_dataset(chunks))
        try:
            while True:
                rows, mask, _ = order.block(epoch, block)
                rows, mask = rows[:, columns], mask[:, columns]
                parts = [next(items) for _ in range(chunks.of_block)]
                image, decoded = (np.concatenate([part[name] for part in parts]) for name in ("image", "decoded"))
                del parts  # frees their shared memory
                decoded = decoded.reshape(rows.shape)
                for row in rows[(mask > 0) & ~decoded].tolist():
                    self.skipped.add(self._examples.encoded.name(int(self._examples.rows[row])))
                yield {
                    "image": image.reshape(*rows.shape, *self._examples.image_shape),
                    "label": self._examples.labels[rows],
                    "index": rows,
                    "mask": (mask * decoded).astype(np.float32),
                }
                epoch, block = (epoch, block + 1) if block + 1 < len(order) else (epoch + 1, 0)
        finally:
            items.close()

    def _open_dataset(self, chunks: _Chunks) -> Any:
        """Grain's dataset; its threads and processes take one chunk after the other and return them in order."""
        import grain

        ahead = self.buffer * chunks.of_block
        each = -(-ahead // self._workers) if self._workers else max(ahead, 2 * self._threads)
        read_ahead = grain.ReadOptions(num_threads=self._threads, prefetch_buffer_size=each)
        dataset = grain.MapDataset.source(chunks).to_iter_dataset(read_ahead)
        if self._workers:
            if not flags.FLAGS.is_parsed():  # Grain reads absl's flags, which not every program parses
                flags.FLAGS.mark_as_parsed()
            options = grain.MultiprocessingOptions(self._workers, per_worker_buffer_size=_QUEUED)
            dataset = dataset.mp_prefetch(options, _end_with_parent)
        return dataset


def count_usable_cores() -> int:
    """How many cores this process may use; on a cluster these may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _end_with_parent(*_: int) -> None:
    """Ends a worker when its parent was killed, so that it does not live on and keep shared memory."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _check_shared_memory(workers: int, each: int) -> None:
    """Refuses workers whose images exceed the shared memory: the kernel would kill the process without a message."""
    if os.path.isdir("/dev/shm") and workers * each > (free := shutil.disk_usage("/dev/shm").free):
        raise UserError(
            f"dataset.stream.workers is {workers}; they need {workers * each / 1e6:.0f} MB of shared memory, and "
            f"/dev/shm has {free / 1e6:.0f} MB (containers: docker run --shm-size)"
        )


class _Chunks:
    """Grain's source: the blocks of all passes from `first` on, cut into chunks of nearly equal size, read and cropped.

    Every thread reads from it, and every process from a copy.

    Attributes:
      of_block: chunks in a block.
    """

    def __init__(self, order: BatchOrder, columns: np.ndarray, first: int, crops: _Crops):
        self._order, self._columns, self._first, self._crops = order, columns, first, crops
        self._size = order.steps * len(columns)
        self.of_block = -(-self._size // _CHUNK)

    def __len__(self) -> int:
        return _ENDLESS

    def __getitem__(self, i: Any) -> Item:
        block, chunk = divmod(i, self.of_block)
        epoch, block = divmod(self._first + block, len(self._order))
        part = slice(chunk * self._size // self.of_block, (chunk + 1) * self._size // self.of_block)
        rows, mask = (array[:, self._columns].ravel()[part] for array in self._order.block(epoch, block)[:2])
        image = np.zeros((len(rows), *self._crops.examples.image_shape), np.uint8)
        decoded = np.zeros(len(rows), bool)
        for place in np.flatnonzero(mask).tolist():
            crop = self._crops.read(int(rows[place]), self._order.seed, epoch)
            if crop is not None:
                image[place], decoded[place] = crop, True
        return {"image": image, "decoded": decoded}


class _Crops(NamedTuple):
    """Reads the crops of single rows."""

    examples: StreamedExamples
    resize: int
    crop_area: float
    like_tensorflow: bool
    skip: bool

    def read(self, row: int, seed: int | None, epoch: int) -> np.ndarray | None:
        """The random crop of that seed and epoch, or the central one without a seed; None if the image is skipped."""
        encoded, place, size = self.examples.encoded, int(self.examples.rows[row]), self.examples.image_shape[0]
        try:
            data = encoded.read(place)
            if seed is None:
                return decoding.crop_for_evaluation(data, self.resize, size)
            rng = np.random.default_rng([seed, epoch, row])
            return decoding.crop_for_training(data, size, self.crop_area, rng, self.like_tensorflow)
        except (decoding.DamagedImage, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # the file system's, whatever the image is
                raise UserError(
                    f"{escape(encoded.name(place))} cannot be read ({one_line(error)}); it was there when the run "
                    "began, and once it can be read again, the same command continues"
                ) from None
            if self.skip:
                return None
            raise UserError(
                f"{escape(encoded.name(place))} cannot be decoded ({one_line(error)}); repair or remove it, or set "
                "dataset.stream.damaged=skip"
            ) from None


class StreamedFeed(Feed):
    """Reads and decodes images while the devices work; each process reads its own part of a batch.

    At the end of a pass, reading continues with the next one, whose first batches are then ready when it begins.
    """

    def __init__(self, stream: Stream, seed: int, mesh: jax.sharding.Mesh):
        self._stream, self._seed, self._mesh = stream, seed, mesh
        self._sharding = devices.batch_sharding(mesh)
        self.ahead, self.skipped = stream.buffer, stream.skipped
        self._reading: Generator[Item, None, None] | None = None
        self._next: tuple[BatchOrder, int, int] | None = None  # order, epoch and block that `_reading` yields next

    def read_epoch(self, epoch: int, batch_size: int, steps: int, done: int = 0) -> Iterator[Block]:
        """See `Feed.read_epoch`."""
        yield from self._read_pass(BatchOrder(len(self._stream), batch_size, steps, self._seed), epoch, done // steps)

    def read_in_order(self, batch_size: int) -> Iterator[Block]:
        """See `Feed.read_in_order`; a block is one batch."""
        shared = -(-min(batch_size, len(self._stream)) // self._mesh.size) * self._mesh.size
        yield from self._read_pass(BatchOrder(len(self._stream), shared, 1, None), 0, 0)

    def close(self) -> None:
        """See `Feed.close`."""
        if self._reading is not None:
            self._reading.close()
        self._reading = self._next = None

    def _read_pass(self, order: BatchOrder, epoch: int, first: int) -> Iterator[Block]:
        shape = order.steps, order.batch_size
        mine = _find_columns(self._sharding, shape)
        for number in range(first, len(order)):
            if self._reading is None or self._next != (order, epoch, number):
                self.close()
                self._reading = self._stream.read(order, mine, epoch, number)
            batches = next(self._reading)
            ends = number + 1 == len(order)
            # Passes without a seed are all the same, whatever the epoch.
            self._next = (order, epoch + (ends and order.seed is not None), 0 if ends else number + 1)
            yield Block(
                Stacked({name: self._place_block(array, mine, shape) for name, array in batches.items()}),
                order.block(epoch, number)[2],
            )

    def _place_block(self, local: np.ndarray, mine: np.ndarray, shape: tuple[int, ...]) -> jax.Array:
        """The array `[steps, B, ...]` on all devices, of which this process holds the columns `mine`."""

        def part(index: tuple[slice, ...] | None) -> np.ndarray:
            assert index is not None  # as every device holds some columns
            first, last, _ = index[1].indices(shape[1])
            start = int(np.searchsorted(mine, first))
            return local[:, start : start + last - first]

        return jax.make_array_from_callback((*shape, *local.shape[2:]), self._sharding, part)


def _find_columns(sharding: jax.sharding.NamedSharding, shape: tuple[int, ...]) -> np.ndarray:
    """The columns of `[steps, B]` on this process's devices, ascending."""
    parts = (index[1] for index in sharding.addressable_devices_indices_map(shape).values() if index)
    return np.unique(np.concatenate([np.arange(shape[1])[part] for part in parts]))
