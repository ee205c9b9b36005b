"""A run's work directory: whose it is, whether it is finished, and what ran in it."""

import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
from typing import Any

import jax

from errors import UserError
from training.records import write_json

_PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "tensorflow-datasets",
    "numpy",
    "opencv-python-headless",
)


def finished(workdir: pathlib.Path, config: Any, overwrite: bool) -> dict[str, Any] | None:
    """The summary of the run in a work directory if it has ended; None if it is to be begun or continued.

    Changes nothing.

    Raises:
      UserError: when the directory belongs to a run with another config, or to something else.
    """
    if not workdir.exists() or not any(workdir.iterdir()):
        return None
    if not (workdir / "config.json").exists():
        raise UserError(f"--workdir: {workdir} is not empty and holds no run; choose another")
    if overwrite:
        return None
    different = _differences(json.loads((workdir / "config.json").read_text()), _settings(config))
    if different:
        raise UserError(
            f"--workdir: {workdir} holds a run with another config ({', '.join(different)}); "
            "choose another --workdir, or --overwrite it"
        )
    summary = workdir / "summary.json"
    return json.loads(summary.read_text()) if summary.exists() else None


def claim(workdir: pathlib.Path, config: Any, overwrite: bool) -> None:
    """Makes the work directory this run's, emptied before if the user says so.

    To be called when everything that may be wrong with the config has been checked, so that no mistake in it costs
    what another run has saved.
    """
    if overwrite and workdir.exists():
        shutil.rmtree(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    write_json(workdir / "config.json", _settings(config))
    file, started = workdir / "environment.json", environment()
    if file.exists():
        first = json.loads(file.read_text())
        started = first | {"resumed": [*first.get("resumed", []), started]}
    write_json(file, started)


def _settings(config: Any) -> dict[str, Any]:
    """The config as JSON holds it."""
    return json.loads(config.to_json_best_effort())


def environment() -> dict[str, Any]:
    """What a run depends on besides its config: command, code, versions, hardware."""
    return {
        "command": " ".join(sys.argv),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu_count": os.cpu_count(),
        "devices": [device.device_kind for device in jax.local_devices()],
    }


def _commit() -> str | None:
    """The commit of the code, with a mark where it had been changed; None outside git."""
    try:
        result = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=pathlib.Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()


def _differences(old: dict, new: dict, prefix: str = "") -> list[str]:
    """The fields in which two configs differ, as `--config.` spells them."""
    fields = []
    for name in {**old, **new}:
        before, after = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            fields += _differences(before, after, f"{prefix}{name}.")
        elif before != after:
            fields.append(f"{prefix}{name}: {before} there, {after} here")
    return fields
