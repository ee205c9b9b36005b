"""What the steps of an epoch show, collected on the devices and fetched when somebody asks."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from datasets.feeds.batches import Batches, Block, Feed
from parallel import devices
from training.run.restoring import count_steps
from training.step import Metrics, Running


class EpochResult(NamedTuple):
    """What an epoch of training has shown.

    Attributes:
      means: over the steps, by the name of the metric.
      samples: by name, an array `[N]` in row order: alignment, prediction and further estimates of the alignment.
      past: int32 `[N]`, what the predictions of earlier epochs vote for; None unless a rule needs it.
    """

    means: dict[str, float]
    samples: dict[str, np.ndarray]
    past: np.ndarray | None = None


class Steps(NamedTuple):
    """Some steps of an epoch: `rows` int32 and `mask` float32 `[steps, B]`, and each step's metrics, stacked."""

    rows: Any
    mask: Any
    metrics: Metrics


class Collector:
    """The metrics of an epoch so far.

    Attributes:
      steps: how many steps there were.
      waited: seconds that the host has waited for the feed, and with it perhaps the devices.
    """

    def __init__(self, started: Mapping[str, Any] | None = None):
        """Begins an epoch, or continues one from what `fetch` returned before the run was cut off."""
        self._fetched = [Steps(**started["steps"])] if started else []
        self._waiting: list[Steps] = []
        self._started = time.perf_counter() - (float(started["seconds"]) if started else 0)
        self.steps = count_steps(started) if started else 0
        self.waited = float(started["waited"]) if started else 0.0

    def wait_for(self, blocks: Iterator[Block]) -> Iterator[Block]:
        """Passes the blocks on as they come, and counts the seconds that they take to come."""
        while True:
            asked = time.perf_counter()
            block = next(blocks, None)
            self.waited += time.perf_counter() - asked
            if block is None:
                return
            yield block

    def add(self, batches: Batches, count: int, metrics: Metrics, feed: Feed) -> None:
        """Adds the metrics of the first `count` of the feed's next batches."""
        self._waiting.append(Steps(batches.rows, batches.mask, metrics))
        self.steps += count
        feed.hold_back(self._waiting)

    def seconds(self) -> float:
        """Seconds since the epoch began, without the time between an interruption and the next start."""
        return time.perf_counter() - self._started

    def fetch(self) -> dict[str, Any]:
        """Everything so far as a tree of numpy arrays, for a checkpoint within the epoch."""
        seconds = {"seconds": np.float32(self.seconds()), "waited": np.float32(self.waited)}
        return {"steps": self._fetch_steps()._asdict(), **seconds}

    def running(self, labels: np.ndarray) -> Running:
        """What the progress bar says of the epoch so far."""
        if not self.steps:
            return Running.start()
        rows, mask, metrics = self._fetch_steps()
        flat = {name: metrics[name].ravel() for name in ("alignment", "prediction")}
        return Running.start().plus(flat, labels[rows.ravel()], mask.ravel())

    def result(self, num_examples: int) -> EpochResult:
        """The whole epoch, each sample's metrics in its row; rows that only filled up a batch are dropped.

        An image that was skipped has the alignment NaN and the prediction -1.
        """
        rows, mask, metrics = self._fetch_steps()
        counted, weights = mask.ravel() > 0, mask.sum(axis=1)
        samples, means = {}, {}
        for name, values in metrics.items():
            if values.ndim == 1:
                means[name] = float(values @ weights / weights.sum()) if weights.any() else math.nan
            else:
                nothing = -1 if np.issubdtype(values.dtype, np.integer) else np.nan
                samples[name] = np.full(num_examples, nothing, values.dtype)
                samples[name][rows.ravel()[counted]] = values.ravel()[counted]
        return EpochResult(means, samples)

    def _fetch_steps(self) -> Steps:
        """Fetches what waits; if there are several processes, all of them must call."""
        if self._waiting:
            parts = [*self._fetched, *devices.fetch(self._waiting)]
            self._fetched = [jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)]
            self._waiting = []
        return self._fetched[0]
