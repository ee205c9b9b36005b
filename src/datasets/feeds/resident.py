"""The feed for sets that fit on the device: all images lie there as uint8, and batches are gathered by row."""

from collections.abc import Iterator

import jax
import numpy as np

from datasets.examples import Examples
from datasets.feeds.batches import Block, Feed, Gathered
from datasets.feeds.order import cut_into_blocks, cut_into_one_block, shuffle_rows
from parallel import devices


def select_arrays(examples: Examples) -> dict[str, np.ndarray]:
    """What goes to the device, the whole split: `image` uint8 `[N, H, W, C]` and observed `label` int32 `[N]`.

    The clean labels stay behind, so nothing that computes on the device can see them.
    """
    return {"image": examples.images, "label": examples.labels}


class ResidentFeed(Feed):
    """Holds all images on every device."""

    def __init__(self, examples: Examples, seed: int, mesh: jax.sharding.Mesh):
        self.data = devices.place(select_arrays(examples), devices.replicated_sharding(mesh))
        self._size, self._seed, self._mesh = len(examples), seed, mesh

    def read_epoch(self, epoch: int, batch_size: int, steps: int, done: int = 0) -> Iterator[Block]:
        """See `Feed.read_epoch`."""
        order = shuffle_rows(self._size, self._seed, epoch)
        for rows, mask, count in cut_into_blocks(order, batch_size, steps)[done // steps :]:
            yield Block(self._gather(rows, mask), count)

    def read_in_order(self, batch_size: int) -> Iterator[Block]:
        """See `Feed.read_in_order`; the whole pass is one block."""
        rows, mask = cut_into_one_block(np.arange(self._size), batch_size, self._mesh.size)
        yield Block(self._gather(rows, mask), len(rows))

    def _gather(self, rows: np.ndarray, mask: np.ndarray) -> Gathered:
        return Gathered(self.data, *devices.place((rows, mask), devices.batch_sharding(self._mesh)))
