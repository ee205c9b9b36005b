"""The feed for sets that fit on the device: images lie there as uint8, and a batch is gathered from them by row."""

from typing import Any

import jax
import numpy as np

from datasets.batches import Batch
from datasets.examples import Examples


def put(examples: Examples, sharding: Any) -> Batch:
    """The whole split on the device: `image` uint8 `[N, H, W, C]` and observed `label` int32 `[N]`.

    The clean labels stay behind: nothing that computes on the device can see them.
    """
    return jax.device_put({"image": examples.images, "label": examples.labels}, sharding)


def shuffled(num_examples: int, seed: int, epoch: int) -> np.ndarray:
    """The order of an epoch: a permutation of the rows, a function of its arguments alone."""
    return np.random.default_rng([seed, epoch]).permutation(num_examples)


def blocks(order: np.ndarray, batch_size: int, steps: int) -> list[tuple[np.ndarray, np.ndarray, int]]:
    """Cuts an order of rows into batches, and the batches into blocks of `steps` for one dispatch each.

    The last batch is filled up with the first rows of the order, the last block with batches of them; the mask is 0
    there. All blocks have the same shape, so one compiled program serves them.

    Returns:
      For each block, rows int32 `[steps, batch_size]`, mask float32 of the same shape, and how many steps are real.
    """
    num_steps = -(-len(order) // batch_size)
    num_blocks = -(-num_steps // steps)
    rows = np.resize(order.astype(np.int32), (num_blocks, steps, batch_size))
    mask = (np.arange(rows.size) < len(order)).astype(np.float32).reshape(rows.shape)
    return [(rows[i], mask[i], min(steps, num_steps - i * steps)) for i in range(num_blocks)]


def one_block(order: np.ndarray, batch_size: int, num_devices: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and mask `[steps, B]` of a whole pass; B is `batch_size` or a little more, so that all devices share it."""
    shared = -(-min(batch_size, len(order)) // num_devices) * num_devices
    ((rows, mask, _),) = blocks(order, shared, -(-len(order) // shared))
    return rows, mask
