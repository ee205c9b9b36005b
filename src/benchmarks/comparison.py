"""Compares what several ways to do one thing cost, in rounds: every way once per round, in a random order."""

from __future__ import annotations

import dataclasses
import pathlib
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from errors import UserError
from sweeps.definition import Run, Sweep, configure, select

Measure = Callable[[], float]
"""Does something once, and returns what it cost."""

_UNCOUNTED = 2  # rounds at the beginning, in which programs are compiled and caches fill


@dataclasses.dataclass(frozen=True)
class Options:
    """What the command line says.

    Attributes:
      rounds: that count.
      config: a config file, with `:variant`.
      overrides: fields of the config, as `--config.field=value`.
      folder: of images.
      against: another checkout of the repository.
    """

    rounds: int
    config: str = "configs/cifar10_small.py"
    overrides: Sequence[str] = ()
    folder: pathlib.Path | None = None
    against: pathlib.Path | None = None

    def load_config(self, config: str | None = None) -> Any:
        """The config with its overrides; another file's in its place if one is given.

        Raises:
          UserError: there is no such file, variant or field.
        """
        file = config or self.config
        if not pathlib.Path(file.partition(":")[0]).is_file():
            raise UserError(f"there is no config {file}")
        run = Run(file, {"config": file})
        return configure(select(Sweep("benchmark", (run,)), "*", self.overrides).runs[0])

    def require_folder(self) -> pathlib.Path:
        """The folder of images.

        Raises:
          UserError: there is none.
        """
        if self.folder is None or not self.folder.is_dir():
            raise UserError(f"this part needs a folder of images, not {self.folder}; give it after the part's name")
        return self.folder


@dataclasses.dataclass(frozen=True)
class Figures:
    """What one way costs.

    Attributes:
      cost: lower quartile, median and upper quartile over the rounds.
      ratio: the same of its cost divided by that of the first way in the same round.
      further: other numbers, by what they are.
    """

    cost: list[float]
    ratio: list[float]
    further: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Some ways to do one thing, by name; the first is what the others are compared with."""

    title: str
    unit: str
    ways: Mapping[str, Figures]

    def lines(self) -> list[str]:
        """The comparison as a text of one line per way."""
        width = max(map(len, self.ways))
        lines = [self.title]
        for name, figures in self.ways.items():
            low, median, high = figures.ratio
            further = "".join(f"  {what} {number:.4g}" for what, number in figures.further.items())
            cost = f"{figures.cost[1]:12.3f} {self.unit}  ratio {median:.3f} [{low:.3f}, {high:.3f}]"
            lines.append(f"  {name:{width}} {cost}{further}")
        return lines


def compare(
    title: str,
    measures: Mapping[str, Measure],
    rounds: int,
    unit: str = "ms",
    further: Mapping[str, Mapping[str, float]] | None = None,
    uncounted: int = _UNCOUNTED,
) -> Comparison:
    """Measures every way once per round, in a random order.

    Args:
      title: what is compared.
      measures: by the name of the way, the first of which is the reference.
      rounds: that count.
      unit: of what the measures return.
      further: other numbers of the ways.
      uncounted: rounds before those.
    """
    rng, costs = np.random.default_rng(0), {name: np.zeros(rounds + uncounted) for name in measures}
    for i in range(rounds + uncounted):
        for name in rng.permutation(list(measures)):
            costs[name][i] = measures[name]()
    first = next(iter(costs.values()))[uncounted:]
    ways = {}
    for name, values in costs.items():
        counted = values[uncounted:]
        ways[name] = Figures(_quartiles(counted), _quartiles(counted / first), (further or {}).get(name, {}))
    return Comparison(title, unit, ways)


def _quartiles(values: np.ndarray) -> list[float]:
    return np.quantile(values, [0.25, 0.5, 0.75]).tolist()


def time_program(program: Callable[[], Any]) -> Measure:
    """Wall-clock milliseconds of a program, whose arrays are waited for."""
    import jax  # the parts that time processes need none

    def measure() -> float:
        started = time.perf_counter()
        jax.block_until_ready(program())
        return 1e3 * (time.perf_counter() - started)

    return measure


def time_cpu(program: Callable[[], Any]) -> Measure:
    """CPU milliseconds of this process while a program runs, of all its threads."""

    def measure() -> float:
        started = time.process_time()
        program()
        return 1e3 * (time.process_time() - started)

    return measure


def time_children(program: Callable[[], Any]) -> Measure:
    """CPU seconds of the processes that a program starts and waits for."""

    def measure() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        program()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return measure
