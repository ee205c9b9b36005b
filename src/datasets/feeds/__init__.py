"""From examples to batches on the devices: gathered from a resident set, or read from disk as they are needed."""

from typing import Any

import jax

from datasets.examples import Examples, StreamedExamples
from datasets.feeds.batches import Batch, Batches, Block, Feed, Gathered, Stacked
from datasets.feeds.resident import ResidentFeed
from datasets.feeds.stream import Stream, StreamedFeed


def open_feed(
    examples: Examples | StreamedExamples, config: Any, mesh: jax.sharding.Mesh, resize: int | None = None
) -> Feed:
    """The feed of a split, by what it is; images are evaluated at `resize` in place of `dataset.stream.resize`."""
    if isinstance(examples, Examples):
        return ResidentFeed(examples, config.seed, mesh)
    return StreamedFeed(Stream(examples, config, resize), config.seed, mesh)


__all__ = ["Batch", "Batches", "Block", "Feed", "Gathered", "ResidentFeed", "Stacked", "StreamedFeed", "open_feed"]
