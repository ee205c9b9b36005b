"""The NVIDIA GPUs of this machine, divided among runs that train at the same time.

Left to itself, JAX takes all GPUs that it sees and three quarters of their memory, so a second run finds none.
"""

from __future__ import annotations

import itertools
import os
import pathlib
from collections.abc import Mapping

_DEV = pathlib.Path("/dev")
_MEMORY = ("XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_PREALLOCATE")
_SHARED = 0.9  # of a GPU's memory; the rest is for CUDA itself, once per process


def list_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; none if JAX is to use CPUs."""
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return list(itertools.takewhile(lambda name: name not in ("", "-1"), map(str.strip, visible.split(","))))
    return [str(number) for number, _ in enumerate(_DEV.glob("nvidia[0-9]*"))]


def divide_gpus(runs: int) -> tuple[list[Mapping[str, str]], str | None]:
    """Divides the GPUs among runs that train at the same time.

    Args:
      runs: how many.

    Returns:
      The environment variables of each of the runs, and a line that says who gets what. A single run gets all GPUs, and
      without GPUs there is nothing to divide: then no variables and no line.
    """
    gpus = list_gpus()
    if runs == 1 or not gpus:
        return [{}] * runs, None
    if runs <= len(gpus):
        each, left = divmod(len(gpus), runs)
        parts = [gpus[i * each : (i + 1) * each] for i in range(runs)]
        line = f"each run has {each} of {len(gpus)} GPUs" + (f"; {left} left over" if left else "")
        return [{"CUDA_VISIBLE_DEVICES": ",".join(part)} for part in parts], line
    together = -(-runs // len(gpus))
    memory = {} if any(name in os.environ for name in _MEMORY) else {_MEMORY[0]: f"{_SHARED / together:.2f}"}
    line = f"up to {together} runs share a GPU"
    if memory:
        line += f", each with {100 * _SHARED / together:.0f} % of its memory"
    return [{"CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)], **memory} for i in range(runs)], line
