"""A sweep: a Python file that lists runs, each a config with overrides, and the cell of a table that the run fills.

Sweep files import this file, so it needs nothing but what config files need.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import importlib.util
import inspect
import json
import pathlib
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from config_line import parse_config
from errors import UserError, one_line


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
        """The name of the run's folder in that of the sweep, made of the cell's values: `clean-crop_flip-0.1-seed0`."""
        return "-".join(f"seed{value}" if key == "seed" else str(value) for key, value in self.cell.items())

    def arguments(self, workdir: pathlib.Path) -> list[str]:
        """The words after `uv run` that train the run in `workdir`, from the root of the repository."""
        config, *overrides = self.flags()
        return ["src/train.py", config, f"--workdir={workdir}", *overrides]

    def flags(self) -> list[str]:
        """The part of the command line that makes the config."""
        return [f"--config={self.config}", *(f"--config.{field}={value}" for field, value in self.overrides.items())]

    def command(self, workdir: pathlib.Path) -> str:
        """The command that trains the run, for a shell."""
        return shlex.join(["uv", "run", *self.arguments(workdir)])


@dataclasses.dataclass(frozen=True)
class Sweep:
    """The runs of a sweep file, in the order in which they are to be started.

    Attributes:
      name: the file's name, with its variant: `table1_imagenet` for `configs/sweeps/table1.py:imagenet`.
      runs: no two of them have the same name.
    """

    name: str
    runs: tuple[Run, ...]


def load(path: str) -> Sweep:
    """Reads a sweep file, which defines `get_runs()`, or `get_runs(variant)` where it has variants.

    Raises:
      UserError: when the file does not exist or fails, names a config that does not exist, or
        lists no runs or one twice.
    """
    file, _, variant = path.partition(":")
    if not pathlib.Path(file).is_file():
        raise UserError(f"there is no sweep file {file}; sweeps lie in configs/sweeps")
    runs = _call_get_runs(file, variant)
    if not runs:
        raise UserError(f"{file} lists no runs")
    for run in runs:
        if not pathlib.Path(run.config.partition(":")[0]).is_file():
            raise UserError(
                f"{file} names {run.config.partition(':')[0]}, which does not exist in {pathlib.Path.cwd()}"
            )
    names = [run.name for run in runs]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UserError(f"{file} lists the run {min(twice)} twice")
    return Sweep("_".join(filter(None, (pathlib.Path(file).stem, variant))), runs)


def _call_get_runs(file: str, variant: str) -> tuple[Run, ...]:
    spec = importlib.util.spec_from_file_location(pathlib.Path(file).stem, file)
    if spec is None or spec.loader is None:
        raise UserError(f"{file} is not a sweep file: it is not Python")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, "get_runs"):
            raise UserError(f"{file} is not a sweep file: it defines no function get_runs")
        if variant and not inspect.signature(module.get_runs).parameters:
            raise UserError(f"{file} has no variants; {variant!r} is not understood")
        return tuple(module.get_runs(variant) if variant else module.get_runs())
    except UserError:
        raise
    except Exception as error:  # whatever the user's own sweep file raises
        raise UserError(f"{file} fails: {type(error).__name__}: {one_line(error)}") from error


def select(sweep: Sweep, only: str, arguments: Sequence[str]) -> Sweep:
    """The runs whose names match the glob `only`, each with the `--config.field=value` of the command line added.

    Raises:
      UserError: when no run matches, an argument is not of this form, or a run cannot be configured.
    """
    for argument in arguments:
        if not (argument.startswith("--config.") and "=" in argument):
            raise UserError(f"{argument} is not understood; --help lists the options")
    added = dict(argument.removeprefix("--config.").split("=", 1) for argument in arguments)
    runs = tuple(
        dataclasses.replace(run, overrides={**run.overrides, **added})
        for run in sweep.runs
        if fnmatch.fnmatchcase(run.name, only) or run.name == only
    )
    if not runs:
        raise UserError(f"--only={only} matches no run; one is called {sweep.runs[0].name}")
    for run in runs:
        configure(run)
    return dataclasses.replace(sweep, runs=runs)


def configure(run: Run) -> ConfigDict:
    """The config that `src/train.py` trains, with the run's overrides.

    Raises:
      UserError: when the config has no such variant or field, or a field may not have such a value.
    """
    try:
        return parse_config(run.flags())
    except UserError as error:
        raise UserError(f"the run {run.name} cannot be configured: {error}") from error


def write_wandb_sweep(path: pathlib.Path, sweep: Sweep, arguments: Sequence[str]) -> None:
    """Writes the YAML file (JSON is YAML) that `wandb sweep` reads, so that agents of Weights & Biases train the runs.

    The runs of a sweep need not be the product of anything, so the grid is over their names: an agent's command is
    `uv run scripts/sweep.py <arguments> --only=<name>`.
    """
    content = {
        "name": sweep.name,
        "program": "scripts/sweep.py",
        "method": "grid",
        "parameters": {"only": {"values": [run.name for run in sweep.runs]}},
        "command": ["${env}", "uv", "run", "${program}", *arguments, "${args}"],
    }
    path.write_text(json.dumps(content, indent=2) + "\n")
