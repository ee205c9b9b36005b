"""The devices of all processes: one mesh, how arrays are laid out on it, and the cache of compiled programs."""

import contextlib
import functools
import hashlib
import pathlib
import platform
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from repository import cache_root

from errors import UserError

_LEAST_CUT = 1024  # numbers; a smaller array is not worth spreading over the devices


def make_mesh() -> Mesh:
    """All devices of all processes along the axis `data`."""
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def replicated_sharding(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """`[steps, batch, ...]` with each batch spread over the devices."""
    return NamedSharding(mesh, PartitionSpec(None, "data"))


def parameter_shardings(tree: Any, mesh: Mesh, kind: str) -> Any:
    """How parameters and the optimiser's moments are laid out on the devices.

    Args:
      tree: arrays or their shapes.
      mesh: of the devices.
      kind: `data`, every array whole on every device; or `fsdp`, every array cut along the largest dimension that the
        devices can share equally. Small arrays, and those without such a dimension, stay whole.

    Raises:
      UserError: for another kind.
    """
    if kind not in ("data", "fsdp"):
        raise UserError(f"sharding is {kind!r}; it must be data or fsdp")

    def one(leaf: Any) -> NamedSharding:
        shared = [axis for axis, size in enumerate(leaf.shape) if size % mesh.size == 0]
        if kind == "data" or not shared or leaf.size < _LEAST_CUT:
            return replicated_sharding(mesh)
        largest = max(shared, key=lambda axis: leaf.shape[axis])
        return NamedSharding(mesh, PartitionSpec(*[None] * largest, "data"))

    return jax.tree.map(one, tree)


def place(tree: Any, sharding: NamedSharding) -> Any:
    """Puts on the devices what every process holds on its host; all processes hold the same."""
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def one(leaf: Any) -> jax.Array:
        array = np.asarray(leaf)
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    return jax.tree.map(one, tree)


def fetch(tree: Any) -> Any:
    """Fetches to every process, as numpy arrays, what is on the devices of all; every process must call this."""
    if jax.process_count() > 1:
        tree = _replicate_to(replicated_sharding(make_mesh()))(tree)
    return jax.device_get(tree)


@functools.cache
def _replicate_to(sharding: NamedSharding) -> Callable[[Any], Any]:
    """One jitted function per sharding, as JAX compiles a new one again."""
    return jax.jit(lambda tree: tree, out_shardings=sharding)


def describe_batch(batch_size: int, mesh: Mesh) -> str:
    """How a batch is shared, such as `batch of 1024: 128 on each of 8 devices of 2 processes`."""
    if mesh.size == 1:
        return f"batch of {batch_size} on 1 device ({mesh.devices.flat[0].device_kind})"
    processes = f" of {jax.process_count()} processes" if jax.process_count() > 1 else ""
    return f"batch of {batch_size}: {batch_size // mesh.size} on each of {mesh.size} devices{processes}"


def check_batch_size(batch_size: int, accumulation_steps: int, mesh: Mesh) -> None:
    """Refuses a batch that cannot be divided equally among the devices and the parts it is computed in."""
    parts = mesh.size * accumulation_steps
    if batch_size % parts:
        raise UserError(
            f"batch_size is {batch_size}; with {mesh.size} device(s) and optimizer.accumulation_steps "
            f"{accumulation_steps} it must be a multiple of {parts}"
        )


def clamp_batch_size(batch_size: int, accumulation_steps: int, examples: int, mesh: Mesh) -> int:
    """The batch size, but no larger than the whole set, rounded up to what devices and parts can share equally."""
    parts = mesh.size * accumulation_steps
    return min(batch_size, -(-examples // parts) * parts)


def choose_eval_batch_size(batch_size: int | None, mesh: Mesh) -> int:
    """Samples per evaluation step: the number given, or one that suits the devices.

    On a CPU small batches stay in its caches: 32 instead of 500 take 0.7 of the time (docs/performance.md).
    """
    if batch_size is not None:
        return batch_size
    return mesh.size * (32 if mesh.devices.flat[0].platform == "cpu" else 500)


def enable_compilation_cache() -> None:
    """Keeps compiled programs in the user's cache directory, so that the next run starts in a third of the time."""
    folder = cache_root() / "xla" / _instruction_set()
    for entry in folder.glob("*-cache"):
        with contextlib.suppress(OSError):  # of another user
            if not entry.stat().st_size:  # the disk was full; JAX would warn of it again and again
                entry.unlink()
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _instruction_set() -> str:
    """Tells processors apart, as JAX's key does not: on a shared home, what one compiled may crash another."""
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    return hashlib.sha256(features.encode()).hexdigest()[:12]
