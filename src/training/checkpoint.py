"""Checkpoints: the latest epoch's whole state, and the parameters of each rule's best epoch.

They lie under `checkpoints/latest/<epoch>` and `checkpoints/<rule>/<epoch>`, written by Orbax. Orbax does not notice a
flipped bit, so each one carries a hash of its content.
"""

import contextlib
import hashlib
import logging
import pathlib
import sys
from typing import Any

import jax
import numpy as np

from errors import UserError
from training import devices
from training.state import TrainState

# Orbax reports every step of every save, and asyncio each of Orbax's tasks that a damaged checkpoint makes fail.
logging.getLogger("absl").setLevel(logging.ERROR)
logging.getLogger("asyncio").setLevel(logging.CRITICAL)
LATEST = "latest"


class Checkpoints:
    """The checkpoints of one work directory; a context manager."""

    def __init__(self, workdir: pathlib.Path, names: tuple[str, ...]):
        import orbax.checkpoint as ocp

        self._ocp = ocp
        # Synchronous: an asynchronous save that is pending when the process ends is lost.
        options = ocp.CheckpointManagerOptions(max_to_keep=1, enable_async_checkpointing=False)
        self._managers = {
            name: ocp.CheckpointManager((workdir / "checkpoints" / name).absolute(), options=options)
            for name in (LATEST, *names)
        }

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception: object) -> None:
        for manager in self._managers.values():
            manager.close()

    def save_latest(self, epoch: int, state: TrainState) -> None:
        """The state after an epoch; the one before is removed once this one is whole."""
        self._save(LATEST, epoch, state)

    def save_best(self, rule: str, epoch: int, params: Any) -> None:
        """The parameters that a rule would keep."""
        self._save(rule, epoch, params)

    def resume(self, template: TrainState) -> tuple[int, TrainState]:
        """The latest epoch and its state, on the devices and with the shardings of `template`; (0, template) if none.

        A rule's checkpoint of an epoch after that is dropped, as that epoch comes again.

        Raises:
          UserError: when the checkpoint is damaged.
        """
        epoch = self._managers[LATEST].latest_step() or 0
        for manager in self._managers.values():
            for later in [step for step in manager.all_steps() if step > epoch]:
                manager.delete(later)
        return epoch, self._restore(LATEST, epoch, template) if epoch else template

    def _save(self, name: str, epoch: int, tree: Any) -> None:
        args = self._ocp.args.StandardSave({"tree": tree, "digest": _digest(tree)})
        if not self._managers[name].save(epoch, args=args):
            raise RuntimeError(f"the checkpoint {name} of epoch {epoch} was not written")

    def _restore(self, name: str, epoch: int, template: Any) -> Any:
        args = self._ocp.args.StandardRestore({"tree": template, "digest": np.zeros(32, np.uint8)})
        manager = self._managers[name]
        damaged = UserError(f"checkpoint {manager.directory / str(epoch)} is damaged; --overwrite starts the run anew")
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        try:
            restored = manager.restore(epoch, args=args)
        except Exception as error:  # Orbax raises a bare Exception for a file that is cut off
            # Reads that are still pending then call back into Orbax's closed event loop: the hook stays silent.
            raise damaged from error
        sys.unraisablehook = hook
        if not np.array_equal(restored["digest"], _digest(restored["tree"])):
            raise damaged
        return restored["tree"]


def has_checkpoint(workdir: pathlib.Path) -> bool:
    """Whether training has left an epoch to resume from; makes no directories, as Checkpoints does."""
    return any(path.name.isdigit() for path in (workdir / "checkpoints" / LATEST).glob("*"))


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


def _digest(tree: Any) -> np.ndarray:
    """SHA-256 over the leaves with their paths, uint8 `[32]`."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree.leaves_with_path(tree):
        data = jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        digest.update(jax.tree_util.keystr(path).encode())
        # One by one: all of what lies spread over the devices may not fit into one.
        digest.update(np.ascontiguousarray(devices.fetch(data)).tobytes())
    return np.frombuffer(digest.digest(), np.uint8)
