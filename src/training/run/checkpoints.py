"""Checkpoints: the whole state of training to resume from, and the parameters of each rule's best epoch.

They lie under `checkpoints/resume/<step>` and `checkpoints/<rule>/<epoch>`, written by Orbax. Orbax does not notice a
flipped bit, so each one carries a hash of its content, and beside its files lie their checksums: a damaged file is
named before Orbax reads it, which would leave reads pending that fail whenever they like.
"""

from __future__ import annotations

import contextlib
import functools
import logging
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
import numpy as np

from errors import UserError, one_line
from parallel.processes import gather_from_all, is_main, is_multiprocess, run_on_main
from training.run.checksums import CHECKSUMS, digest, find_damage, write_checksums
from training.run.durable import replace, sync_folder, sync_tree
from training.run.stored_state import add_digest, check_finite, check_same_arrays, to_dict, zeros_like

if TYPE_CHECKING:
    from training.state import TrainState

# Orbax reports every step of every save and what it goes on without, and asyncio each of Orbax's tasks that a damaged
# checkpoint makes fail.
logging.getLogger("absl").setLevel(logging.CRITICAL)
logging.getLogger("asyncio").setLevel(logging.CRITICAL)
RESUME = "resume"
_OLD_RESUME = "latest"  # as the first version called it
EPOCHS = "epochs"  # the latest epoch that any rule kept; the directories of the rules link to its files
_DAMAGED = "damaged"  # checkpoints to resume from that could not be restored
_CUT_OFF = "it was cut off while it was saved"
_OTHER_CONTENT = "its content is not what was saved"


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
        if is_main() and (self._folder / _OLD_RESUME).is_dir():
            for directory in (self._folder / _OLD_RESUME).iterdir():
                write_checksums(directory)  # only what was cut off while it was saved has none
            (self._folder / _OLD_RESUME).rename(self._folder / RESUME)
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
        """Saves the state after a step. The one before stays, in case that this one is damaged; older ones go.

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
        step, saved = self._restore_latest(template, last)
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

    def _restore_latest(self, template: TrainState, last: float) -> tuple[int, dict[str, Any]]:
        """The latest step up to `last` that can be restored, and what it holds; 0 and the template if there is none."""
        failures: dict[int, str] = {}
        for step in sorted(self._resume.all_steps(), reverse=True):
            cause, saved = run_on_main(functools.partial(_find_damage_or_cut, self._folder / RESUME / str(step))), {}
            cause = "the records of its epoch are cut off" if step > last else cause
            try:
                saved = {} if cause else self._restore(step, template)
            except Exception as error:  # Orbax raises a bare Exception for a file that is cut off
                cause = _explain(error)
            causes = [cause for cause in gather_from_all(cause) if cause is not None]
            if not causes:
                self._set_aside(failures, step)
                return step, saved
            failures[step] = causes[0]
        if set(failures.values()) - {_CUT_OFF}:
            run_on_main(functools.partial(self._refuse, failures))
        self._set_aside(failures, 0)
        return 0, {"state": template}

    def _restore(self, step: int, state: TrainState) -> dict[str, Any]:
        manager, hook = self._resume, sys.unraisablehook
        metadata = manager.item_metadata(step)["default"]
        if metadata is None:
            raise ValueError("its metadata are missing")
        # Only the checkpoint knows how much an epoch had shown.
        saved = metadata.tree["tree"]
        begun = {"begun": saved["begun"]} if "begun" in saved else {}
        template = {"state": to_dict(state)} | jax.tree.map(zeros_like, begun)
        check_same_arrays(saved, template)
        args = self._ocp.args.StandardRestore({"tree": template, "digest": np.zeros(32, np.uint8)})
        # When a read fails, those still pending do so too at any later time, where no program can catch it.
        sys.unraisablehook = lambda _: None
        restored = manager.restore(step, args=self._ocp.args.Composite(default=args))["default"]
        sys.unraisablehook = hook
        tree = restored["tree"] | {"state": type(state)(**restored["tree"]["state"])}
        if not np.array_equal(restored["digest"], digest(tree)):
            raise ValueError(_OTHER_CONTENT)
        return tree

    def _set_aside(self, failures: Mapping[int, str], step: int) -> None:
        """Moves checkpoints that could not be restored out of the way of those that training will save."""
        for failed, cause in failures.items():
            source, target = self._folder / RESUME / str(failed), self._folder / _DAMAGED / f"{RESUME}-{failed}"
            if is_main():
                target.parent.mkdir(exist_ok=True)
                shutil.rmtree(target, ignore_errors=True)
                source.rename(target)
                print(
                    f"{source} cannot be restored ({cause}); it is now {target}, and training continues after step "
                    f"{step}",
                    file=sys.stderr,
                )
        gather_from_all(None)  # the others wait for the renaming
        self._resume.reload()

    def _refuse(self, failures: Mapping[int, str]) -> None:
        """Says why no checkpoint can be restored, and what is left: the best epoch of a rule."""
        kept = (path.parent for path in self._folder.glob(f"*/*/{CHECKSUMS}") if path.parts[-3] not in (RESUME, EPOCHS))
        intact = [path for path in kept if path.name.isdigit() and not find_damage(path)]
        left = max(intact, key=lambda path: int(path.name), default=None)
        start = f" (--config.pretrained={left} starts from the parameters of epoch {left.name})" if left else ""
        listed = "; ".join(f"{step}: {cause}" for step, cause in failures.items())
        raise UserError(
            f"no checkpoint in {self._folder / RESUME} can be restored ({listed}); put a copy of one back, or choose "
            f"another --workdir{start}"
        )


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


def has_checkpoint(workdir: pathlib.Path) -> bool:
    """Whether there is a step to resume from. Unlike Checkpoints it makes no directories."""
    saved = workdir.glob(f"checkpoints/{RESUME}/*/{CHECKSUMS}")
    return any(path.parent.name.isdigit() for path in saved) or any(workdir.glob(f"checkpoints/{_OLD_RESUME}/*"))


def count_steps(started: Mapping[str, Any]) -> int:
    """How many steps `Collector.fetch` has returned, without those that only filled up the last block."""
    return int(np.any(started["steps"]["mask"] > 0, axis=1).sum())


def load_params(directory: str | pathlib.Path) -> Any:
    """The parameters in a checkpoint such as `runs/digits/checkpoints/max_gwa/12`, as numpy arrays.

    `runs/digits/checkpoints/max_gwa/12/ema` is their moving average, if the run kept one.

    Raises:
      UserError: when there is none, or it is damaged.
    """
    import orbax.checkpoint as ocp

    path = pathlib.Path(directory).absolute()
    path = path if path.name == "ema" else path / "default"
    if not path.exists():
        raise UserError(f"there is no checkpoint {directory}")
    if damage := find_damage(path.parent):
        raise UserError(f"checkpoint {directory} is damaged ({damage})")
    with contextlib.closing(ocp.Checkpointer(ocp.PyTreeCheckpointHandler())) as checkpointer:
        as_numpy = ocp.RestoreArgs(restore_type=np.ndarray)
        try:
            metadata = checkpointer.metadata(path).item_metadata.tree
            restored = checkpointer.restore(path, restore_args=jax.tree.map(lambda _: as_numpy, metadata))
        except Exception as error:  # Orbax raises many kinds for a file that is cut off
            raise UserError(f"checkpoint {directory} is damaged ({_explain(error)})") from error
    tree = restored["tree"]
    if not np.array_equal(restored["digest"], digest(tree)):
        raise UserError(f"checkpoint {directory} is damaged ({_OTHER_CONTENT})")
    return tree


def _find_damage_or_cut(directory: pathlib.Path) -> str | None:
    """As `find_damage`, for a checkpoint to resume from, whose checksums are written last."""
    return find_damage(directory) if (directory / CHECKSUMS).exists() else _CUT_OFF


def _explain(error: Exception) -> str:
    """The cause of a restore that failed, without TensorStore's account of itself."""
    return one_line(error.__cause__ or error).partition(" [tensorstore_spec")[0]


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
