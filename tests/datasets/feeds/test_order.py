"""Batches and their order: every row once per epoch, whatever the sizes."""

import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.feeds.batches import gather
from datasets.feeds.order import cut_into_blocks, cut_into_one_block, shuffle_rows


@settings(max_examples=60)
@given(size=st.integers(1, 60), batch_size=st.integers(1, 20), steps=st.integers(1, 7), epoch=st.integers(1, 3))
def test_blocks_hold_every_row_once(size, batch_size, steps, epoch):
    order = shuffle_rows(size, seed=5, epoch=epoch)
    blocks = cut_into_blocks(order, batch_size, steps)
    rows, masks, counts = zip(*blocks, strict=True)
    assert sum(counts) == -(-size // batch_size)
    assert all(block.shape == mask.shape == (steps, batch_size) for block, mask in zip(rows, masks, strict=True))
    in_order = np.concatenate([block[mask > 0] for block, mask in zip(rows, masks, strict=True)])
    assert np.array_equal(in_order, order)
    # Steps beyond the count are empty, and rows that fill a batch up are real ones.
    assert all(not mask[count:].any() for mask, count in zip(masks, counts, strict=True))
    assert all(((block >= 0) & (block < size)).all() for block in rows)


@settings(max_examples=60)
@given(size=st.integers(1, 60), batch_size=st.integers(1, 70), num_devices=st.integers(1, 8))
def test_one_block_is_shared_by_all_devices(size, batch_size, num_devices):
    rows, mask = cut_into_one_block(np.arange(size)[::-1], batch_size, num_devices)
    assert np.array_equal(rows[mask > 0], np.arange(size)[::-1])
    assert rows.shape[1] % num_devices == 0
    assert rows.shape[1] < min(batch_size, size) + num_devices


def test_the_order_depends_on_seed_and_epoch():
    orders = {tuple(shuffle_rows(50, seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9
    assert all(sorted(order) == list(range(50)) for order in orders)


def test_gather_takes_rows_with_their_labels():
    images = np.arange(20, dtype=np.uint8).reshape(5, 2, 2, 1)
    data = {"image": jnp.asarray(images), "label": jnp.arange(5) * 10}
    batch = gather(data, jnp.array([3, 0, 3]), jnp.array([1.0, 1.0, 0.0]))
    assert np.array_equal(batch["image"], images[[3, 0, 3]])
    assert np.array_equal(batch["label"], [30, 0, 30])
    assert np.array_equal(batch["index"], [3, 0, 3])
