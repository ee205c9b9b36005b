"""Checkpoints: the whole state of training to resume from, and the parameters of each rule's best epoch.

They lie under `checkpoints/resume/<step>` and `checkpoints/<rule>/<epoch>`, written by Orbax. Orbax does not notice a
flipped bit, so each one carries a hash of its content.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import pathlib
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from errors import UserError
from parallel import devices

if TYPE_CHECKING:
    from training.state import TrainState

# Orbax reports every step of every save, and asyncio each of Orbax's tasks that a damaged checkpoint makes fail.
logging.getLogger("absl").setLevel(logging.ERROR)
logging.getLogger("asyncio").setLevel(logging.CRITICAL)
RESUME = "resume"


class Checkpoints:
    """The checkpoints of a work directory; a context manager."""

    def __init__(self, workdir: pathlib.Path, names: tuple[str, ...]):
        import orbax.checkpoint as ocp

        self._ocp = ocp
        # Synchronous: an asynchronous save that is pending when the process ends is lost.
        options = ocp.CheckpointManagerOptions(max_to_keep=1, enable_async_checkpointing=False)
        self._managers = {
            name: ocp.CheckpointManager(
                (workdir / "checkpoints" / name).absolute(),
                options=options,
                item_handlers=ocp.StandardCheckpointHandler(),
            )
            for name in (RESUME, *names)
        }

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *exception: object) -> None:
        for manager in self._managers.values():
            manager.close()

    def save_resume(self, step: int, state: TrainState, started: Mapping[str, Any] | None = None) -> None:
        """Saves the state after a step, and removes the one before when this one is complete.

        Args:
          step: of the run, from 1.
          state: after it.
          started: within an epoch, what its steps have shown, as `Collector.fetch` returns it.
        """
        self._save(RESUME, step, {"state": state} | ({"begun": started} if started else {}))

    def save_best(self, rule: str, epoch: int, params: Any) -> None:
        """Saves the parameters that a rule would keep now."""
        self._save(rule, epoch, params)

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
        step = self._managers[RESUME].latest_step() or 0
        epoch = step // steps_per_epoch
        for name, manager in self._managers.items():
            for later in [saved for saved in manager.all_steps() if name != RESUME and saved > epoch]:
                manager.delete(later)
        if not step:
            return 0, template, None
        saved = self._restore(step, template)
        return epoch, saved["state"], saved.get("begun")

    def _save(self, name: str, step: int, tree: Any) -> None:
        args = self._ocp.args.StandardSave({"tree": tree, "digest": _digest(tree)})
        if not self._managers[name].save(step, args=args):
            raise RuntimeError(f"the checkpoint {name}/{step} was not written")

    def _restore(self, step: int, state: TrainState) -> dict[str, Any]:
        manager = self._managers[RESUME]
        damaged = UserError(f"checkpoint {manager.directory / str(step)} is damaged; --overwrite starts the run anew")
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        try:
            # Only the checkpoint knows how much an epoch had shown.
            saved = manager.item_metadata(step).tree["tree"]
            template = {"state": state} | jax.tree.map(_zeros, {"begun": saved["begun"]} if "begun" in saved else {})
            args = self._ocp.args.StandardRestore({"tree": template, "digest": np.zeros(32, np.uint8)})
            restored = manager.restore(step, args=args)
        except Exception as error:  # Orbax raises a bare Exception for a file that is cut off
            # Reads that are still pending then call back into Orbax's closed event loop, so the hook stays silent.
            raise damaged from error
        sys.unraisablehook = hook
        if not np.array_equal(restored["digest"], _digest(restored["tree"])):
            raise damaged
        return restored["tree"]


def has_checkpoint(workdir: pathlib.Path) -> bool:
    """Whether there is a step to resume from. Unlike Checkpoints it makes no directories."""
    return any(path.name.isdigit() for path in (workdir / "checkpoints" / RESUME).glob("*"))


def load_params(directory: str | pathlib.Path) -> Any:
    """The parameters in a checkpoint such as `runs/digits/checkpoints/max_gwa/12`, as numpy arrays.

    Raises:
      UserError: when there is none, or it is damaged.
    """
    import orbax.checkpoint as ocp

    path = pathlib.Path(directory).absolute() / "default"
    if not path.exists():
        raise UserError(f"there is no checkpoint {directory}")
    with contextlib.closing(ocp.Checkpointer(ocp.PyTreeCheckpointHandler())) as checkpointer:
        as_numpy = ocp.RestoreArgs(restore_type=np.ndarray)
        metadata = checkpointer.metadata(path).item_metadata.tree
        restored = checkpointer.restore(path, restore_args=jax.tree.map(lambda _: as_numpy, metadata))
    tree = restored["tree"]
    if not np.array_equal(restored["digest"], _digest(tree)):
        raise UserError(f"checkpoint {directory} is damaged")
    return tree


def _zeros(array: Any) -> np.ndarray:
    return np.zeros(array.shape, array.dtype)


def _digest(tree: Any) -> np.ndarray:
    """SHA-256 over the leaves with their paths, uint8 `[32]`."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree.leaves_with_path(tree):
        data = jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        digest.update(jax.tree_util.keystr(path).encode())
        # One by one: all of what lies spread over the devices may not fit into one.
        digest.update(np.ascontiguousarray(devices.fetch(data)).tobytes())
    return np.frombuffer(digest.digest(), np.uint8)
