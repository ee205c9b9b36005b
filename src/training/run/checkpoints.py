"""Checkpoints: the whole state of training to resume from, and the parameters of each rule's best epoch.

They lie under `checkpoints/resume/<step>` and `checkpoints/<rule>/<epoch>`, written by Orbax. Orbax does not notice a
flipped bit, so each one carries a hash of its content.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import pathlib
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from errors import UserError
from parallel import devices
from parallel.processes import is_main

if TYPE_CHECKING:
    from training.state import TrainState

# Orbax reports every step of every save, and asyncio each of Orbax's tasks that a damaged checkpoint makes fail.
logging.getLogger("absl").setLevel(logging.ERROR)
logging.getLogger("asyncio").setLevel(logging.CRITICAL)
RESUME = "resume"
_OLD_RESUME = "latest"  # as the first version called it
EPOCHS = "epochs"  # the latest epoch that any rule kept; the directories of the rules link to its files


class Checkpoints:
    """The checkpoints of a work directory; a context manager.

    Several rules often keep the same epoch. Its parameters are written once, and each rule's directory holds links.
    """

    def __init__(self, workdir: pathlib.Path):
        import orbax.checkpoint as ocp

        self._ocp = ocp
        self._folder = (workdir / "checkpoints").absolute()
        if is_main() and (self._folder / _OLD_RESUME).is_dir():
            (self._folder / _OLD_RESUME).rename(self._folder / RESUME)
        # Synchronous: an asynchronous save that is pending when the process ends is lost.
        options = ocp.CheckpointManagerOptions(max_to_keep=1, enable_async_checkpointing=False)
        self._resume, self._epochs = (
            ocp.CheckpointManager(
                self._folder / name,
                options=options,
                item_handlers={item: ocp.StandardCheckpointHandler() for item in ("default", *more)},
            )
            for name, more in ((RESUME, ()), (EPOCHS, ("ema",)))
        )

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *exception: object) -> None:
        self._resume.close()
        self._epochs.close()

    def save_resume(self, step: int, state: TrainState, started: Mapping[str, Any] | None = None) -> None:
        """Saves the state after a step, and removes the one before when this one is complete.

        Args:
          step: of the run, from 1.
          state: after it.
          started: within an epoch, what its steps have shown, as `Collector.fetch` returns it.
        """
        more = {"begun": started} if started else {}
        self._save(self._resume, step, default=_seal({"state": _to_dict(state)} | more, {"state": state} | more))

    def save_best(self, rules: Sequence[str], epoch: int, params: Any, ema: Any = None) -> None:
        """Saves the parameters after an epoch, and their average if there is one, for the rules that would keep it."""
        if rules:
            self._save(self._epochs, epoch, default=_seal(params), **({} if ema is None else {"ema": _seal(ema)}))
        if is_main():
            for rule in rules:
                _link(self._folder / EPOCHS / str(epoch), self._folder / rule / str(epoch))

    def resume(self, template: TrainState, steps_per_epoch: int) -> tuple[int, TrainState, Mapping[str, Any] | None]:
        """Restores where training continues.

        A rule's checkpoint of an epoch that is not finished there is deleted, because that epoch is trained again.

        Args:
          template: the initial state; the saved one is put on the same devices with the same shardings.
          steps_per_epoch: of the run.

        Returns:
          The number of finished epochs, the state, and what `save_resume` was given for an epoch that had started, or
          None. Without a checkpoint it is (0, template, None).

        Raises:
          UserError: when the checkpoint is damaged.
        """
        step = self._resume.latest_step() or 0
        epoch = step // steps_per_epoch
        for later in [saved for saved in self._epochs.all_steps() if saved > epoch]:
            self._epochs.delete(later)
        if is_main():
            for path in self._folder.glob("*/*"):
                if path.parent.name not in (RESUME, EPOCHS) and path.name.isdigit() and int(path.name) > epoch:
                    shutil.rmtree(path)
        if not step:
            return 0, template, None
        saved = self._restore(step, template)
        return epoch, saved["state"], saved.get("begun")

    def _save(self, manager: Any, step: int, **items: dict[str, Any]) -> None:
        args = {name: self._ocp.args.StandardSave(item) for name, item in items.items()}
        if not manager.save(step, args=self._ocp.args.Composite(**args)):
            raise RuntimeError(f"the checkpoint {manager.directory / str(step)} was not written")

    def _restore(self, step: int, state: TrainState) -> dict[str, Any]:
        manager = self._resume
        damaged = UserError(f"checkpoint {manager.directory / str(step)} is damaged; --overwrite starts the run anew")
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        try:
            # Only the checkpoint knows how much an epoch had shown.
            saved = manager.item_metadata(step)["default"].tree["tree"]
            begun = {"begun": saved["begun"]} if "begun" in saved else {}
            template = {"state": _to_dict(state)} | jax.tree.map(_zeros, begun)
            args = self._ocp.args.StandardRestore({"tree": template, "digest": np.zeros(32, np.uint8)})
            restored = manager.restore(step, args=self._ocp.args.Composite(default=args))["default"]
        except Exception as error:  # Orbax raises a bare Exception for a file that is cut off
            # Reads that are still pending then call back into Orbax's closed event loop, so the hook stays silent.
            raise damaged from error
        sys.unraisablehook = hook
        tree = restored["tree"] | {"state": type(state)(**restored["tree"]["state"])}
        if not np.array_equal(restored["digest"], _digest(tree)):
            raise damaged
        return tree


def has_checkpoint(workdir: pathlib.Path) -> bool:
    """Whether there is a step to resume from. Unlike Checkpoints it makes no directories."""
    return any(path.name.isdigit() for name in (RESUME, _OLD_RESUME) for path in workdir.glob(f"checkpoints/{name}/*"))


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
    damaged = UserError(f"checkpoint {directory} is damaged")
    with contextlib.closing(ocp.Checkpointer(ocp.PyTreeCheckpointHandler())) as checkpointer:
        as_numpy = ocp.RestoreArgs(restore_type=np.ndarray)
        try:
            metadata = checkpointer.metadata(path).item_metadata.tree
            restored = checkpointer.restore(path, restore_args=jax.tree.map(lambda _: as_numpy, metadata))
        except Exception as error:  # Orbax raises many kinds for a file that is cut off
            raise damaged from error
    tree = restored["tree"]
    if not np.array_equal(restored["digest"], _digest(tree)):
        raise damaged
    return tree


def _link(source: pathlib.Path, target: pathlib.Path) -> None:
    """Makes `target` the same checkpoint as `source`, and removes what lay beside it."""
    scratch = target.with_name(f"{target.name}.tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(source, scratch, copy_function=_link_file)
    scratch.rename(target)
    for other in target.parent.iterdir():
        if other != target:
            shutil.rmtree(other)


def _link_file(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


def _to_dict(state: TrainState) -> dict[str, Any]:
    """The fields of a state that hold arrays; an average that the run does not keep leaves no trace on disk."""
    return {name: value for name, value in vars(state).items() if value is not None}


def _zeros(array: Any) -> np.ndarray:
    return np.zeros(array.shape, array.dtype)


def _seal(tree: Any, hashed: Any = None) -> dict[str, Any]:
    """What is stored for a tree: itself, and the hash of its content, or of the same content as another tree."""
    return {"tree": tree, "digest": _digest(tree if hashed is None else hashed)}


def _digest(tree: Any) -> np.ndarray:
    """SHA-256 over the leaves with their paths, uint8 `[32]`."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree.leaves_with_path(tree):
        data = jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        digest.update(jax.tree_util.keystr(path).encode())
        # One by one: all of what lies spread over the devices may not fit into one.
        digest.update(np.ascontiguousarray(devices.fetch(data)).tobytes())
    return np.frombuffer(digest.digest(), np.uint8)
