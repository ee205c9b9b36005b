"""From a folder of pictures to the table and the page of its labels: what is trained, and what is written when."""

from __future__ import annotations

import os
import pathlib
import time
from collections.abc import Callable, Sequence

import datasets
from datasets import folders
from errors import UserError
from reports.label_table import LabelTable, write_label_issues
from reports.run_page.page import write_page
from sweeps.definition import Run, Sweep, configure, select
from sweeps.launch import Interruption, describe_exit, start_python, stop
from training.run.identity import check_data, describe_data
from training.run.workdir import find_summary

_CONFIG = "configs/find_label_issues.py"


def define_run(folder: pathlib.Path, options: Sequence[str]) -> Run:
    """The run that searches a folder.

    Args:
      folder: see `folders.load`.
      options: fields of its config, as `--config.field=value`.

    Raises:
      UserError: the folder is missing, or holds fewer than two classes; or an option is not understood.
    """
    if any(option.startswith("--config.dataset.path") for option in options):
        raise UserError(f"--config.dataset.path names a folder, and so does {folder}; leave out one of them")
    folder = folder.expanduser()
    source = folders.load(str(folder), image_size=1)
    if len(source.class_names) < 2:
        raise UserError(f"{folder} has the only class {source.class_names[0]!r}; there must be at least two")
    run = Run(f"{_CONFIG}:{len(source.train)}", {"folder": folder.resolve().name}, {"dataset.path": str(folder)})
    return select(Sweep("find_label_issues", (run,)), "*", options).runs[0]


def is_finished(run: Run, workdir: pathlib.Path) -> bool:
    """Whether the work directory holds the finished run.

    Raises:
      UserError: it holds another run, or one on other pictures: some were moved, removed, added or changed since.
    """
    config = configure(run)
    finished = find_summary(workdir, config, overwrite=False) is not None
    if finished:  # training looks at the data itself
        try:
            check_data(workdir, describe_data(datasets.build(config.dataset)))
        except UserError as error:
            raise UserError(f"{error}; --overwrite searches anew") from None
    return finished


def train(run: Run, workdir: pathlib.Path, overwrite: bool, seconds: float, show: Callable[[], None]) -> int:
    """Trains in a process of its own, and returns its exit code; that process reports a mistake itself.

    Args:
      run: what is trained.
      workdir: where it is kept.
      overwrite: whether to start anew.
      seconds: when to call `show`, or as soon after that as an epoch is finished.
      show: shows what there is meanwhile.

    Raises:
      KeyboardInterrupt: after Ctrl-C or SIGTERM, when the process has ended.
      UserError: a signal has killed the process, for example because memory was short.
    """
    started, shown = time.time(), False
    with Interruption() as interruption:
        process = start_python([*run.arguments(workdir), *["--overwrite"] * overwrite])
        try:
            while process.poll() is None:
                interruption.sleep(0.5)
                if not shown and time.time() - started >= seconds and _has_epochs(workdir, started):
                    show()
                    shown = True
        finally:
            stop([process], interruption)
    if process.returncode < 0:
        raise UserError(f"training was {describe_exit(process.returncode)}; the same command continues")
    return process.returncode


def write_results(workdir: pathlib.Path, table: LabelTable) -> list[pathlib.Path]:
    """Writes the page and the table from the epochs so far; returns the files, the page first.

    Raises:
      UserError: a file of the run is missing or malformed, or the table has been edited.
    """
    return [write_page(workdir), *write_label_issues(table, workdir)]


def _has_epochs(workdir: pathlib.Path, started: float) -> bool:
    """Whether the run that was started then has an epoch; its folder may still hold what it is about to overwrite."""
    try:
        history = os.stat(workdir / "history.jsonl")
    except FileNotFoundError:
        return False
    return history.st_mtime >= started and history.st_size > 0
