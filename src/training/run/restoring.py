"""Reading checkpoints: where training continues, and the parameters that a rule keeps.

Orbax does not notice a flipped bit, and a read that fails leaves others pending, which fail whenever they like. So a
damaged checkpoint is found by its checksums before Orbax reads it, and by the hash of its content after that.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import pathlib
import shutil
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from errors import UserError, one_line
from parallel.processes import gather_from_all, is_main, run_on_main
from training.run.checksums import CHECKSUMS, digest, find_damage
from training.run.stored_state import check_same_arrays, to_dict, zeros_like

if TYPE_CHECKING:
    from training.state import TrainState

# Orbax reports every step of every save and what it goes on without, and asyncio each of Orbax's tasks that a damaged
# checkpoint makes fail.
logging.getLogger("absl").setLevel(logging.CRITICAL)
logging.getLogger("asyncio").setLevel(logging.CRITICAL)
RESUME = "resume"
OLD_RESUME = "latest"  # as the first version called it
EPOCHS = "epochs"  # the latest epoch that any rule kept; the directories of the rules link to its files
DAMAGED = "damaged"  # checkpoints to resume from that could not be restored
_CUT_OFF = "it was cut off while it was saved"
_OTHER_CONTENT = "its content is not what was saved"


def has_checkpoint(workdir: pathlib.Path) -> bool:
    """Whether there is a step to resume from. Unlike Checkpoints it makes no directories."""
    saved = workdir.glob(f"checkpoints/{RESUME}/*/{CHECKSUMS}")
    return any(path.parent.name.isdigit() for path in saved) or any(workdir.glob(f"checkpoints/{OLD_RESUME}/*"))


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


def restore_latest(manager: Any, template: TrainState, last: float) -> tuple[int, dict[str, Any]]:
    """Restores the latest checkpoint to resume from; sets those aside that cannot be restored.

    Args:
      manager: Orbax's, of `checkpoints/resume`.
      template: a state; the saved one is put on the same devices with the same shardings.
      last: a checkpoint of a later step is set aside too.

    Returns:
      The step, and what the checkpoint holds; 0 and the template if there is none.

    Raises:
      UserError: when there are checkpoints, but none can be restored; with the cause.
    """
    folder = pathlib.Path(manager.directory)
    failures: dict[int, str] = {}
    for step in sorted(manager.all_steps(), reverse=True):
        cause, saved = run_on_main(functools.partial(_find_damage_or_cut, folder / str(step))), {}
        cause = "history.jsonl is cut off before its epoch" if step > last else cause
        try:
            saved = {} if cause else _restore(manager, step, template)
        except Exception as error:  # Orbax raises a bare Exception for a file that is cut off
            cause = _explain(error)
        causes = [cause for cause in gather_from_all(cause) if cause is not None]
        if not causes:
            _set_aside(manager, failures, step)
            return step, saved
        failures[step] = causes[0]
    if set(failures.values()) - {_CUT_OFF}:
        run_on_main(functools.partial(_refuse, folder, failures))
    _set_aside(manager, failures, 0)
    return 0, {"state": template}


def _restore(manager: Any, step: int, state: TrainState) -> dict[str, Any]:
    import orbax.checkpoint as ocp

    hook = sys.unraisablehook
    metadata = manager.item_metadata(step)["default"]
    if metadata is None:
        raise ValueError("its metadata are missing")
    # Only the checkpoint knows how much an epoch had shown.
    saved = metadata.tree["tree"]
    begun = {"begun": saved["begun"]} if "begun" in saved else {}
    template = {"state": to_dict(state)} | jax.tree.map(zeros_like, begun)
    check_same_arrays(saved, template)
    args = ocp.args.StandardRestore({"tree": template, "digest": np.zeros(32, np.uint8)})
    # When a read fails, those still pending do so too at any later time, where no program can catch it.
    sys.unraisablehook = lambda _: None
    restored = manager.restore(step, args=ocp.args.Composite(default=args))["default"]
    sys.unraisablehook = hook
    tree = restored["tree"] | {"state": type(state)(**restored["tree"]["state"])}
    if not np.array_equal(restored["digest"], digest(tree)):
        raise ValueError(_OTHER_CONTENT)
    return tree


def _set_aside(manager: Any, failures: Mapping[int, str], step: int) -> None:
    """Moves checkpoints that could not be restored out of the way of those that training will save."""
    for failed, cause in failures.items():
        source = pathlib.Path(manager.directory) / str(failed)
        target = source.parents[1] / DAMAGED / f"{RESUME}-{failed}"
        if is_main():
            target.parent.mkdir(exist_ok=True)
            shutil.rmtree(target, ignore_errors=True)
            source.rename(target)
            print(
                f"{source} cannot be restored ({cause}); it is now {target}, and training continues after step {step}",
                file=sys.stderr,
            )
    gather_from_all(None)  # the others wait for the renaming
    manager.reload()


def _refuse(folder: pathlib.Path, failures: Mapping[int, str]) -> None:
    """Says why no checkpoint can be restored, and what is left: the best epoch of a rule."""
    kept = (path.parent for path in folder.parent.glob(f"*/*/{CHECKSUMS}") if path.parts[-3] not in (RESUME, EPOCHS))
    intact = [path for path in kept if path.name.isdigit() and not find_damage(path)]
    left = max(intact, key=lambda path: int(path.name), default=None)
    start = f" (--config.pretrained={left} starts from the parameters of epoch {left.name})" if left else ""
    listed = "; ".join(f"{step}: {cause}" for step, cause in failures.items())
    raise UserError(
        f"no checkpoint in {folder} can be restored ({listed}); put a copy of one back, or choose "
        f"another --workdir{start}"
    )


def _find_damage_or_cut(directory: pathlib.Path) -> str | None:
    """As `find_damage`, for a checkpoint to resume from, whose checksums are written last."""
    return find_damage(directory) if (directory / CHECKSUMS).exists() else _CUT_OFF


def _explain(error: Exception) -> str:
    """The cause of a restore that failed, without TensorStore's account of itself."""
    return one_line(error.__cause__ or error).partition(" [tensorstore_spec")[0]
