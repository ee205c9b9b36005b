"""Weights & Biases: off by default, and never a reason for a run to fail."""

import contextlib
import logging
import pathlib
import secrets
from collections.abc import Callable
from typing import Any

from gwa.rules import Record
from parallel.processes import is_main

_SECONDS_TO_CONNECT = 30


class Tracking:
    """Logs a record per epoch to the project that `config.wandb` names; a context manager."""

    def __init__(self, config: Any, workdir: pathlib.Path):
        self._config, self._workdir = config, workdir
        self._run: Any = None

    def __enter__(self) -> "Tracking":
        if self._config.wandb.mode != "disabled" and is_main():
            self._start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._run is not None:
            self._attempt(self._run.finish)

    def log(self, record: Record) -> None:
        """Logs the record of an epoch, without fields that are None."""
        if self._run is not None:
            values = {name: value for name, value in record.items() if value is not None}
            self._attempt(lambda: self._run.log(values, step=record["epoch"]))

    def summarize(self, summary: dict[str, Any]) -> None:
        """Logs the summary of the run."""
        if self._run is not None:
            self._attempt(lambda: self._run.summary.update(summary))

    def log_page(self, page: pathlib.Path) -> None:
        """Logs the page of the run: its curves, and the suspicious labels with their pictures."""
        if self._run is not None:
            import wandb

            self._attempt(lambda: self._run.log({"report": wandb.Html(page.read_text(), inject=False)}))

    def _start(self) -> None:
        import wandb

        config, workdir = self._config, self._workdir

        # One id per work directory: a resumed run continues its curves.
        id_file = workdir / "wandb_id"
        if not id_file.exists():
            id_file.write_text(secrets.token_hex(4))
        arguments = {
            "project": config.wandb.project,
            "entity": config.wandb.entity,
            "name": config.wandb.name or workdir.name,
            "id": id_file.read_text(),
            "resume": "allow",
            "dir": str(workdir),
            "config": config.to_dict(),
            "settings": wandb.Settings(init_timeout=_SECONDS_TO_CONNECT, silent=True),
        }
        try:
            self._run = wandb.init(mode=config.wandb.mode, **arguments)
        except Exception as error:  # no key, no network, no permission: training continues in any case
            logging.warning("wandb cannot connect (%s) and records offline; `wandb sync` uploads the run later", error)
            with contextlib.suppress(Exception):
                self._run = wandb.init(mode="offline", **arguments)

    def _attempt(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:  # the run's own records are complete without it
            logging.warning("wandb: %s", error)
