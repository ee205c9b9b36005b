"""Checkpoints: the whole state of training to resume from, and the parameters of each rule's best epoch.

They lie under `checkpoints/resume/<step>` and `checkpoints/<rule>/<epoch>`, written by Orbax. Each one carries a hash
of its content, and beside its files lie their checksums, which are written last. `restoring.py` reads them.
"""

from __future__ import annotations

import math
import os
import pathlib
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from errors import UserError
from parallel.processes import is_main, is_multiprocess
from training.run.checksums import write_checksums
from training.run.durable import replace, sync_folder, sync_tree
from training.run.restoring import EPOCHS, OLD_RESUME, RESUME, count_steps, restore_latest
from training.run.stored_state import add_digest, check_finite, to_dict

if TYPE_CHECKING:
    from training.state import TrainState


class Checkpoints:
    """The checkpoints of a work directory; a context manager, at whose end everything is on the disk.

    Several rules often keep the same epoch. Its parameters are written once, and each rule's directory holds links.
    A single process writes a copy while training goes on, if its devices have memory for one; several write together
    and wait.
    """

    def __init__(self, workdir: pathlib.Path):
        import orbax.checkpoint as ocp

        self._ocp = ocp
        self._seconds = 0.0
        self._kept: dict[str, tuple[int, Any, Any]] = {}  # by rule: epoch, parameters and their average
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._writing: Future[None] | None = None
        self._folder = (workdir / "checkpoints").absolute()
        if is_main() and (self._folder / OLD_RESUME).is_dir():
            for directory in (self._folder / OLD_RESUME).iterdir():
                write_checksums(directory)  # only what was cut off while it was saved has none
            (self._folder / OLD_RESUME).rename(self._folder / RESUME)
        # Synchronous: Orbax loses an asynchronous save that is pending when the process ends.
        self._resume, self._epochs = (
            ocp.CheckpointManager(
                self._folder / name,
                options=ocp.CheckpointManagerOptions(max_to_keep=kept, enable_async_checkpointing=False),
                item_handlers={item: ocp.StandardCheckpointHandler() for item in ("default", *more)},
            )
            for name, kept, more in ((RESUME, 2, ()), (EPOCHS, 1, ("ema",)))
        )
        if is_main():
            for folder in (self._folder, self._folder.parent):
                sync_folder(folder)

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        try:
            self.wait()
            if kind is UserError:  # training cannot go on, and what it has kept so far stays
                self.save_kept()
        finally:
            self._writer.shutdown()
            self._resume.close()
            self._epochs.close()

    def save_resume(self, step: int, state: TrainState, started: Mapping[str, Any] | None = None) -> None:
        """Saves the state after a step. The one before stays, in case this one is damaged; older ones go.

        What `keep_best` has kept in memory is saved before it. A single process may return while this is written.

        Args:
          step: of the run, from 1.
          state: after it.
          started: within an epoch, what its steps have shown, as `Collector.fetch` returns it.

        Raises:
          UserError: when parameters are not finite.
        """
        check_finite((state.params, state.ema))
        self.wait()
        began = time.perf_counter()
        kept, self._kept = self._kept, {}
        copy = None if is_multiprocess() else _copy_if_it_fits(state)  # training gives the original away
        if copy is None:
            self._write(kept, step, state, started)
        else:
            self._writing = self._writer.submit(self._write, kept, step, copy, started)
        self._seconds += time.perf_counter() - began

    def save_begun(self, step: int, state: TrainState, started: Mapping[str, Any]) -> None:
        """As `save_resume` within an epoch, or after its last step before it is recorded; nothing is saved twice."""
        self.wait()
        if step not in self._resume.all_steps():
            self.save_resume(step, state, started)

    def keep_best(self, rules: Sequence[str], epoch: int, params: Any, ema: Any = None) -> None:
        """Keeps the parameters after an epoch, and their average if there is one, for the rules that would choose it.

        They stay in memory until something is saved: until then, resuming trains this epoch again.

        Raises:
          UserError: when parameters are not finite, whether or not a rule would keep them.
        """
        check_finite((params, ema))
        if rules:
            kept = (epoch, *_copy((params, ema)))  # training gives the originals away
            self._kept |= dict.fromkeys(rules, kept)

    def save_kept(self) -> None:
        """Saves what `keep_best` has kept in memory; when it returns, everything is on the disk."""
        self.wait()
        began = time.perf_counter()
        kept, self._kept = self._kept, {}
        self._write_kept(kept)
        self._seconds += time.perf_counter() - began

    def wait(self) -> None:
        """Waits until everything that was saved is on the disk.

        Raises:
          Exception: what made writing fail.
        """
        began = time.perf_counter()
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()
        self._seconds += time.perf_counter() - began

    def resume(
        self, template: TrainState, steps_per_epoch: int, recorded: int | None = None
    ) -> tuple[int, TrainState, Mapping[str, Any] | None]:
        """Restores where training continues: the latest state, or the one before if that one is damaged.

        A damaged one is set aside with a message on stderr. A rule's checkpoint of an epoch that is not finished there
        is deleted, because that epoch is trained again.

        Args:
          template: the initial state; the saved one is put on the same devices with the same shardings.
          steps_per_epoch: of the run.
          recorded: epochs; a checkpoint after more is set aside too. None: any number.

        Returns:
          The number of finished epochs, the state, and what `save_resume` was given for an epoch that had started, or
          None. Without a checkpoint it is (0, template, None).

        Raises:
          UserError: when there are checkpoints, but none can be restored; with the cause.
        """
        last = math.inf if recorded is None else (recorded + 1) * steps_per_epoch - 1
        step, saved = restore_latest(self._resume, template, last)
        started = saved.get("begun")
        epoch = (step - (count_steps(started) if started else 0)) // steps_per_epoch
        for later in [saved for saved in self._epochs.all_steps() if saved > epoch]:
            self._epochs.delete(later)
        if is_main():
            for path in self._folder.glob("*/*"):
                if path.parent.name not in (RESUME, EPOCHS) and path.name.isdigit() and int(path.name) > epoch:
                    shutil.rmtree(path)
        return epoch, saved["state"], started

    def take_seconds(self) -> float:
        """The seconds that training has waited for writing since the last call."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds

    def _write(
        self, kept: Mapping[str, tuple[int, Any, Any]], step: int, state: TrainState, started: Mapping[str, Any] | None
    ) -> None:
        self._write_kept(kept)
        if step in self._resume.all_steps():  # of this epoch before it was recorded; the one before it stays
            self._resume.delete(step)
        more = {"begun": started} if started else {}
        self._save(self._resume, step, default=add_digest({"state": to_dict(state)} | more, {"state": state} | more))

    def _write_kept(self, kept: Mapping[str, tuple[int, Any, Any]]) -> None:
        arrays = {epoch: (params, ema) for epoch, params, ema in kept.values()}
        for epoch, (params, ema) in sorted(arrays.items()):
            average = {} if ema is None else {"ema": add_digest(ema)}
            self._save(self._epochs, epoch, default=add_digest(params), **average)
            if is_main():
                for rule in (rule for rule in kept if kept[rule][0] == epoch):
                    _link(self._folder / EPOCHS / str(epoch), self._folder / rule / str(epoch))

    def _save(self, manager: Any, step: int, **items: dict[str, Any]) -> None:
        args, hook = {name: self._ocp.args.StandardSave(item) for name, item in items.items()}, sys.unraisablehook
        # When a write fails, on a full disk, those still pending do so too, where no program can catch it.
        sys.unraisablehook = lambda _: None
        saved = manager.save(step, args=self._ocp.args.Composite(**args))
        sys.unraisablehook = hook
        if not saved:
            raise RuntimeError(f"the checkpoint {manager.directory / str(step)} was not written")
        if is_main():
            directory = pathlib.Path(manager.directory) / str(step)
            sync_tree(directory)
            write_checksums(directory)  # last: where they are, all of it is on the disk


def _copy_if_it_fits(state: TrainState) -> TrainState | None:
    """A copy on the same devices; None if they have too little memory for it."""
    try:
        return _copy(state)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            return None
        raise


@jax.jit
def _copy(tree: Any) -> Any:
    return jax.tree.map(jnp.copy, tree)


def _link(source: pathlib.Path, target: pathlib.Path) -> None:
    """Makes `target` the same checkpoint as `source`, and removes what lay beside it."""
    if not target.parent.exists():
        target.parent.mkdir()
        sync_folder(target.parent.parent)
    scratch = target.with_name(f"{target.name}.tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(source, scratch, copy_function=_link_file)
    sync_tree(scratch)
    replace(scratch, target)
    for other in target.parent.iterdir():
        if other != target:
            shutil.rmtree(other)


def _link_file(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)
