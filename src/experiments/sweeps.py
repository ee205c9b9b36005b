"""A sweep: a Python file that lists runs, each a config with overrides, and the cell of a table that the run fills."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import pathlib
import shlex
from collections.abc import Mapping
from typing import Any

from errors import UserError


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of a sweep.

    Attributes:
      config: the file that `--config` names, with its variant: `configs/cifar10_small.py:vit`.
      cell: what tables group runs by, in the order of their columns; values are plain strings and numbers. `seed` is
        one of them where runs are repeated.
      overrides: fields of the config and their values: `{"dataset.label_key": "random_label1"}`.
    """

    config: str
    cell: Mapping[str, str | int | float]
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        """The folder of the run within the sweep's, made of the cell's values: `clean-crop_flip-0.1-seed0`."""
        return "-".join(f"seed{value}" if key == "seed" else str(value) for key, value in self.cell.items())

    def arguments(self, workdir: pathlib.Path) -> list[str]:
        """The command line that trains the run in `workdir`, from the root of the repository, after `uv run`."""
        overrides = [f"--config.{field}={value}" for field, value in self.overrides.items()]
        return ["src/train.py", f"--config={self.config}", f"--workdir={workdir}", *overrides]

    def command(self, workdir: pathlib.Path) -> str:
        """The same as a shell takes it."""
        return shlex.join(["uv", "run", *self.arguments(workdir)])


@dataclasses.dataclass(frozen=True)
class Sweep:
    """The runs of a sweep file, in the order in which they are to be started.

    Attributes:
      name: the file's name, with its variant: `table1_imagenet` for `configs/sweeps/table1.py:imagenet`.
      runs: no two of one name.
    """

    name: str
    runs: tuple[Run, ...]


def load(path: str) -> Sweep:
    """Reads a sweep file, which defines `get_runs()`, or `get_runs(variant)` where it has variants.

    Raises:
      UserError: when the file is not there, defines no runs, names a config that does not exist, or a run twice.
    """
    file, _, variant = path.partition(":")
    if not pathlib.Path(file).is_file():
        raise UserError(f"there is no sweep file {file}; sweeps lie in configs/sweeps")
    spec = importlib.util.spec_from_file_location(pathlib.Path(file).stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_runs"):
        raise UserError(f"{file} is no sweep file: it defines no function get_runs")
    if variant and not inspect.signature(module.get_runs).parameters:
        raise UserError(f"{file} has no variants; {variant!r} is not understood")
    runs = tuple(module.get_runs(variant) if variant else module.get_runs())
    for run in runs:
        if not pathlib.Path(run.config.partition(":")[0]).is_file():
            raise UserError(f"{file} names {run.config.partition(':')[0]}, which does not exist")
    names = [run.name for run in runs]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UserError(f"{file} lists the run {min(twice)} twice")
    return Sweep("_".join(filter(None, (pathlib.Path(file).stem, variant))), runs)
