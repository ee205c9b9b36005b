"""What an epoch of training shows, collected while it runs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from datasets.feeds import Block, Feed
from datasets.feeds.batches import Batches
from parallel import devices
from training.step import Metrics, Running


class Epoch(NamedTuple):
    """What an epoch of training showed: means over its steps and, in row order, what there is of each sample."""

    means: dict[str, float]
    samples: dict[str, np.ndarray]  # alignment, prediction and further estimates of the alignment, each [N]
    estimates: dict[str, dict[str, float]]  # GWA and its parts of each further estimate


class Steps(NamedTuple):
    """Some steps of an epoch: `rows` int32 and `mask` float32 `[steps, B]`, and each step's metrics, stacked."""

    rows: Any
    mask: Any
    metrics: Metrics


class Collector:
    """What the steps of an epoch have shown so far; it stays on the devices until somebody asks.

    Attributes:
      steps: how many there were.
      waited: seconds that the host has waited for the feed, and the devices maybe with it.
    """

    def __init__(self, begun: Mapping[str, Any] | None = None):
        """At the start of an epoch, or where `fetch` had come when the run was cut off."""
        self._fetched = [Steps(**begun["steps"])] if begun else []
        self._waiting: list[Steps] = []
        self._started = time.perf_counter() - (float(begun["seconds"]) if begun else 0)
        self.steps = len(self._fetched[0].rows) if begun else 0
        self.waited = float(begun["waited"]) if begun else 0.0

    def awaiting(self, blocks: Iterator[Block]) -> Iterator[Block]:
        """The blocks, as they come."""
        while True:
            asked = time.perf_counter()
            block = next(blocks, None)
            self.waited += time.perf_counter() - asked
            if block is None:
                return
            yield block

    def add(self, batches: Batches, count: int, metrics: Metrics, feed: Feed) -> None:
        """The metrics of the first `count` of the feed's next batches."""
        self._waiting.append(Steps(batches.rows, batches.mask, metrics))
        self.steps += count
        feed.hold_back(self._waiting)

    def seconds(self) -> float:
        """Since the epoch began, without the time between a cut and the start that went on."""
        return time.perf_counter() - self._started

    def fetch(self) -> dict[str, Any]:
        """Everything so far as a tree of numpy arrays, for a checkpoint within the epoch."""
        seconds = {"seconds": np.float32(self.seconds()), "waited": np.float32(self.waited)}
        return {"steps": self._all()._asdict(), **seconds}

    def running(self, labels: np.ndarray) -> Running:
        """What the epoch has shown so far, as the progress bar tells it."""
        if not self.steps:
            return Running.start()
        rows, mask, metrics = self._all()
        flat = {name: metrics[name].ravel() for name in ("alignment", "prediction")}
        return Running.start().plus(flat, labels[rows.ravel()], mask.ravel())

    def epoch(self, num_examples: int) -> Epoch:
        """The whole epoch, each row's metrics where it belongs; rows that filled up a batch are dropped.

        An image that was skipped has no score: NaN, and the prediction -1.
        """
        rows, mask, metrics = self._all()
        counted, weights = mask.ravel() > 0, mask.sum(axis=1)
        samples, means = {}, {}
        for name, values in metrics.items():
            if values.ndim == 1:
                means[name] = float(values @ weights / weights.sum())
            else:
                nothing = -1 if np.issubdtype(values.dtype, np.integer) else np.nan
                samples[name] = np.full(num_examples, nothing, values.dtype)
                samples[name][rows.ravel()[counted]] = values.ravel()[counted]
        return Epoch(means, samples, {})

    def _all(self) -> Steps:
        """Fetches what waits; of several processes, all must call."""
        if self._waiting:
            parts = [*self._fetched, *devices.fetch(self._waiting)]
            self._fetched = [jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)]
            self._waiting = []
        return self._fetched[0]
