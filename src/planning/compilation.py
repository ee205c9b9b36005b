"""The training program of a config, compiled for accelerators that this machine does not have.

XLA needs only a description of the devices and the libraries for them, which the extras `cuda` and `tpu` install.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh

from datasets.feeds.batches import Stacked
from errors import UserError
from parallel import devices
from planning.accelerators import ACCELERATORS, GPUS, TPUS
from training.state import state_shapes
from training.step import Recipe, Running, jit_train_block

_LIBTPU = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
"""Without these, libtpu looks for chips in the machine, and for other processes that use them."""


@contextlib.contextmanager
def trace_for(kind: str) -> Iterator[None]:
    """A context that traces what `gpu` or `tpu` would run; some formulations are for CPUs only."""
    with mock.patch.object(jax, "default_backend", return_value=kind):
        yield


class Compiled(NamedTuple):
    """A training program as compiled by XLA.

    Attributes:
      memory: bytes that it takes on one device: state, batch, and temporary arrays.
      text: its instructions, on one device.
    """

    memory: int
    text: str


def compile_train_block(
    config: Any, recipe: Recipe, shape: tuple[int, int, int], accelerator: str, num_devices: int
) -> Compiled:
    """The training steps of one dispatch, on so many accelerators that share the batch.

    Args:
      config: of a run; `batch_size`, `steps_per_dispatch` and `sharding` are read.
      recipe: of its training step.
      shape: height, width and channels of an image.
      accelerator: a name of GPUS or TPUS.
      num_devices: how many there are.

    Raises:
      UserError: where XLA cannot compile for them, or the program does not fit into their memory.
    """
    mesh = Mesh(np.array(_describe_devices(accelerator, num_devices)), ("data",), axis_types=(AxisType.Auto,))
    with trace_for("gpu" if accelerator in GPUS else "tpu"):
        lowered = _lower(config, recipe, shape, mesh)
        try:
            program: Any = lowered.compile()
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" in str(error):
                raise UserError(f"the program does not fit into the memory of a {accelerator}") from None
            raise
    memory = program.memory_analysis()
    size = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    return Compiled(size - memory.alias_size_in_bytes, program.as_text())


def _lower(config: Any, recipe: Recipe, shape: tuple[int, int, int], mesh: Mesh) -> Any:
    """The training program for the batches of one dispatch, lowered for the devices of the mesh."""
    steps = config.steps_per_dispatch
    everywhere, spread = devices.replicated_sharding(mesh), devices.batch_sharding(mesh)
    shapes = state_shapes(recipe.model, recipe.optimizer, shape, recipe.ema_decay > 0)
    sharding = devices.parameter_shardings(shapes, mesh, config.sharding)

    def replicated(leaf: Any, sharding: Any = everywhere) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    def of_batch(dtype: Any, *rest: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((steps, config.batch_size, *rest), dtype, sharding=spread)

    state = jax.tree.map(replicated, shapes, sharding)
    running = jax.tree.map(replicated, jax.eval_shape(Running.start))
    label = of_batch(jnp.int32)
    batch: Any = {"image": of_batch(jnp.uint8, *shape), "label": label, "index": label, "mask": of_batch(jnp.float32)}
    number = jax.ShapeDtypeStruct((), jnp.int32, sharding=everywhere)
    return jit_train_block(recipe, sharding, mesh).lower(state, running, Stacked(batch), steps, number)


def _describe_devices(accelerator: str, num_devices: int) -> list[Any]:
    try:
        if accelerator in GPUS:
            topology = topologies.get_topology_desc(
                platform="cuda",
                topology_name="",
                target_config=_write_target(accelerator),
                topology=f"1x1x{num_devices}",
            )
        elif accelerator in TPUS:
            for name, value in _LIBTPU.items():
                os.environ.setdefault(name, value)
            topology = topologies.get_topology_desc(platform="tpu", topology_name=name_slice(accelerator, num_devices))
        else:
            raise UserError(f"--compile knows {', '.join((*GPUS, *TPUS))}, not {accelerator}")
    except (RuntimeError, NotImplementedError) as error:
        extra = "cuda" if accelerator in GPUS else "tpu"
        raise UserError(f"XLA cannot compile for {accelerator} here ({error}); uv run --extra {extra} can") from None
    return topology.devices


def _write_target(accelerator: str) -> str:
    """XLA's GpuTargetConfigProto, as text."""
    gpu, rates = GPUS[accelerator], ACCELERATORS[accelerator]
    return f"""
        platform_name: "CUDA"
        gpu_device_info {{
          cuda_compute_capability {{ major: {gpu.capability[0]} minor: {gpu.capability[1]} }}
          core_count: {gpu.cores} fpus_per_core: {gpu.units} clock_rate_ghz: {gpu.clock}
          threads_per_warp: 32 threads_per_block_limit: 1024 threads_per_core_limit: {gpu.threads}
          block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
          registers_per_core_limit: 65536 registers_per_block_limit: 65536
          shared_memory_per_block: 49152 shared_memory_per_block_optin: {gpu.shared_per_block}
          shared_memory_per_core: {gpu.shared} l2_cache_size: {gpu.cache}
          memory_bandwidth: {1e12 * rates.bandwidth:.0f} device_memory_size: {1e9 * rates.memory:.0f}
        }}
        dnn_version_info {{ major: 9 minor: 10 }}
        runtime_version {{ major: 13 }}"""


def name_slice(accelerator: str, num_devices: int) -> str:
    """The slice of so many chips that is nearest to a square or a cube, such as `v5e:2x4`."""
    name, dimensions = TPUS[accelerator]
    doublings = num_devices.bit_length() - 1
    if num_devices != 2**doublings or num_devices < 4:
        raise UserError(f"--devices is {num_devices}; slices of {accelerator} have 4, 8, 16, ... chips")
    sides = [2 ** ((doublings + i) // dimensions) for i in range(dimensions)]
    assert math.prod(sides) == num_devices
    return f"{name}:{'x'.join(map(str, sides))}"
