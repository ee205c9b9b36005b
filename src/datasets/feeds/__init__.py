"""From examples to batches on the devices: gathered from a set that lies there, or read from disk while training."""

from typing import Any

import jax

from datasets.examples import Examples, StreamedExamples
from datasets.feeds.batches import Batch, Batches, Block, Feed, Gathered, ResidentFeed, Stacked
from datasets.feeds.stream import Stream, StreamedFeed


def open_feed(
    examples: Examples | StreamedExamples, config: Any, mesh: jax.sharding.Mesh, resize: int | None = None
) -> Feed:
    """The feed that suits a split; with `resize`, images are evaluated at that size, not `dataset.stream.resize`."""
    if isinstance(examples, Examples):
        return ResidentFeed(examples, config.seed, mesh)
    return StreamedFeed(Stream(examples, config, resize), config.seed, mesh)


__all__ = ["Batch", "Batches", "Block", "Feed", "Gathered", "ResidentFeed", "Stacked", "StreamedFeed", "open_feed"]
