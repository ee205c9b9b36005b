"""The devices: one mesh with the axis `data`, how arrays lie on it, and where compiled programs are kept."""

import hashlib
import pathlib
import platform

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from datasets.cache import cache_root
from errors import UserError


def data_mesh() -> Mesh:
    """All local devices along the axis `data`."""
    return jax.make_mesh((jax.local_device_count(),), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batched(mesh: Mesh) -> NamedSharding:
    """`[steps, batch, ...]` with each batch spread over the devices."""
    return NamedSharding(mesh, PartitionSpec(None, "data"))


def check_batch_size(batch_size: int, accumulation_steps: int, mesh: Mesh) -> None:
    """Refuses a batch that the devices and the parts it is computed in cannot share equally."""
    if accumulation_steps < 1:
        raise UserError(f"optimizer.accumulation_steps is {accumulation_steps}; it must be at least 1")
    parts = mesh.size * accumulation_steps
    if batch_size < 1 or batch_size % parts:
        raise UserError(
            f"batch_size is {batch_size}; with {mesh.size} device(s) and optimizer.accumulation_steps "
            f"{accumulation_steps} it must be a multiple of {parts}"
        )


def enable_compilation_cache() -> None:
    """Keeps every compiled program in the user's cache directory: the next run starts in a third of the time."""
    jax.config.update("jax_compilation_cache_dir", str(cache_root() / "xla" / _instruction_set()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _instruction_set() -> str:
    """Tells processors apart, which JAX's own key does not; what one compiled may crash another on a shared home."""
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    return hashlib.sha256(features.encode()).hexdigest()[:12]
