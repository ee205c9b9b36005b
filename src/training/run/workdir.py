"""The work directory of a run: which run it belongs to, whether that is finished, and what ran in it."""

import contextlib
import datetime
import fcntl
import importlib.metadata
import json
import logging
import os
import pathlib
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import jax

from datasets import Cleaning
from errors import UserError
from parallel.processes import run_on_main
from training.run.durable import sync_folder, write_json
from training.run.reader import read_config, read_derived, read_summary
from training.run.records import list_samples, samples_file
from training.run.restoring import has_checkpoint

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
_SECTIONS = ("dataset", "network", "optimizer", "stopping")  # of the config, in every version
FREE = (
    "wandb.",
    "checkpoint_steps",
    "checkpoint_minutes",
    "report",
    "dataset.stream.threads",
    "dataset.stream.workers",
)
"""Fields, or sections, that may change when a run continues: they decide what is shown or saved, and how fast."""

# config.json is replaced by the one of the new run, and not deleted.
_WRITTEN = (
    *("summary.json", "history.jsonl", "checkpoints", "labels.npz", "cleaning.json", "environment.json"),
    *("config.json.tmp", "traceback.txt", "wandb", "wandb_id"),
    *("label_issues.csv", "label_issues.parquet", "report.html", "figures/*.png", "figures/*.svg", "figures/*.pdf"),
    *("ablation.json", "bias.json", "estimates.json", "detection.json", "flagged/*.csv", "cross_validation"),
    *("evaluations.json", "robustness.json", "external.json"),
    *("exported/model.safetensors", "exported/config.json", "exported/model.stablehlo"),
)


def find_summary(workdir: pathlib.Path, config: Any, overwrite: bool) -> dict[str, Any] | None:
    """The summary of the run in a work directory if it is finished; None if it must be started or continued.

    Changes nothing.

    Raises:
      UserError: when the directory holds a run with another config, or something that is no run.
    """
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"--workdir: {workdir} is a file; choose another directory")
    if not workdir.exists() or {path.name for path in workdir.iterdir()} <= {"config.json.tmp"}:  # a start cut off
        return None
    if not (workdir / "config.json").exists() and has_checkpoint(workdir):
        raise UserError(f"--workdir: {workdir} holds a run whose config.json is missing; put a copy of it back")
    if not _holds_run(workdir):
        raise UserError(f"--workdir: {workdir} is not empty and holds no run; choose another directory")
    if overwrite:
        return None
    different = _differences(_settings(read_config(workdir)), _settings(config))
    if different:
        raise UserError(
            f"--workdir: {workdir} holds a run with another config ({', '.join(different)}); choose another "
            "--workdir, or use the stored config to continue that run"
        )
    return read_summary(workdir) if (workdir / "summary.json").exists() else None


@contextlib.contextmanager
def claim(workdir: pathlib.Path, config: Any, overwrite: bool) -> Iterator[None]:
    """Locks the work directory for this job, and deletes the run in it first if the user says so.

    Enter it after everything in the config has been checked, so that no mistake costs what another run has saved.

    Raises:
      UserError: when another process is training in the directory.
    """
    with contextlib.ExitStack() as held:
        run_on_main(lambda: _take(workdir, config, overwrite, held))
        yield


def check_overwrite(workdir: pathlib.Path, config: Any) -> None:
    """Refuses to overwrite the run whose label issues, or whose weights, the new one starts from.

    Raises:
      UserError: with what would be right.
    """
    for field, name in (("dataset.labels", config.dataset.labels), ("pretrained", config.pretrained)):
        path = pathlib.Path(name).expanduser().resolve() if name else None
        if path and workdir.resolve() in (path, *path.parents):
            raise UserError(f"--overwrite would delete what {field} names in {workdir}; choose another --workdir")


def check_cleaning(workdir: pathlib.Path, cleaning: Cleaning | None) -> None:
    """Refuses a file of label issues that has changed since the run began.

    Raises:
      UserError: with what would be right.
    """
    if cleaning is None:
        return
    before = read_derived(workdir, "cleaning.json")
    if before is not None and before.get("sha256") != cleaning.sha256:
        raise UserError(
            f"dataset.labels: {cleaning.file} has changed since the run in {workdir} began; restore the original file, "
            "or choose another --workdir"
        )


def _take(workdir: pathlib.Path, config: Any, overwrite: bool, held: contextlib.ExitStack) -> None:
    workdir.mkdir(parents=True, exist_ok=True)
    directory = os.open(workdir, os.O_RDONLY)
    held.callback(os.close, directory)  # this also releases the lock, however the process ends
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"--workdir: another process is training in {workdir}; choose another") from None
    except OSError as error:
        logging.warning("%s: the file system has no locks (%s), so nothing keeps a second job out", workdir, error)
    if overwrite and (workdir / "config.json").exists():
        _delete_run(workdir)
    sync_folder(workdir.parent)
    write_json(workdir / "config.json", _settings(config))
    _write_environment(workdir / "environment.json")


def _holds_run(workdir: pathlib.Path) -> bool:
    """Whether the config.json there is a run's: other programs have files of this name too."""
    config = read_derived(workdir, "config.json")
    return config is not None and all(isinstance(config.get(name), dict) for name in _SECTIONS)


def _delete_run(workdir: pathlib.Path) -> None:
    """Deletes what a run and the scripts have written; an interrupted deletion never looks like a complete run."""
    arrays = map(samples_file, list_samples(read_config(workdir)))
    patterns = [written for pattern in (*_WRITTEN, *arrays) for written in (pattern, f"{pattern}.tmp")]
    for path in [path for pattern in patterns for path in sorted(workdir.glob(pattern))]:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for name in ("figures", "flagged", "exported"):
        with contextlib.suppress(OSError):  # it does not exist, or holds something else
            (workdir / name).rmdir()
    kept = sorted(path.name for path in workdir.iterdir() if path.name != "config.json")
    if kept:
        print(f"{workdir} keeps what the run has not written: {', '.join(kept)}", file=sys.stderr)


def _write_environment(file: pathlib.Path) -> None:
    """Writes the environment of the first start; those of later starts follow under `resumed`."""
    started = describe_environment()
    if file.exists():
        try:
            first = read_derived(file.parent, file.name) or {}
            started = first | {"resumed": [*first.get("resumed", []), started]}
        except UserError as error:  # training does not need it
            print(f"{error}; it is written anew", file=sys.stderr)
    write_json(file, started)


def _settings(config: Any) -> dict[str, Any]:
    """The config as JSON holds it."""
    return json.loads(config.to_json_best_effort())


def describe_environment() -> dict[str, Any]:
    """What a run depends on besides its config: command, code, versions, hardware. None stands for what is unknown."""
    return {
        "command": shlex.join(sys.argv),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _find_commit(),
        "python": platform.python_version(),
        "packages": {name: _find_version(name) for name in _PACKAGES},
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu_count": os.cpu_count(),
        "devices": [device.device_kind for device in jax.devices()],
        "processes": jax.process_count(),
    }


def _find_version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _find_commit() -> str | None:
    """The commit of the code, marked if the code was changed; from the variable GWA_COMMIT where there is no git."""
    try:
        result = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=pathlib.Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("GWA_COMMIT")
    return result.stdout.strip()


def _differences(old: dict, new: dict, prefix: str = "") -> list[str]:
    """The fields in which two configs differ, as `--config.` spells them, but for those that compute nothing."""
    fields = []
    for name in {**old, **new}:
        before, after = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            fields += _differences(before, after, f"{prefix}{name}.")
        elif before != after and not f"{prefix}{name}".startswith(FREE):
            fields.append(f"{prefix}{name}: {before} there, {after} here")
    return fields
