"""A question that each process answers for itself, and that all of them must answer alike at the same step."""

from __future__ import annotations

import collections

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from parallel.devices import replicated_sharding
from parallel.processes import is_multiprocess

LAG = 2  # dispatches


class Agreement:
    """Yes as soon as one process says yes.

    Their answers follow the steps through the devices, and are read `LAG` dispatches later, so that no process waits
    for a device.
    """

    def __init__(self, mesh: Mesh):
        """Nothing has been asked yet."""
        self._mesh = mesh
        self._pending: collections.deque[jax.Array] = collections.deque()
        self._any = jax.jit(lambda answers: answers.any(), out_shardings=replicated_sharding(mesh))

    def ask(self, answer: bool) -> bool:
        """The common answer; all processes must ask after each dispatch."""
        if not is_multiprocess():
            return answer
        mine = np.full(len(self._mesh.local_devices), answer)
        answers = jax.make_array_from_process_local_data(NamedSharding(self._mesh, PartitionSpec("data")), mine)
        self._pending.append(self._any(answers))
        return len(self._pending) > LAG and bool(jax.device_get(self._pending.popleft()))
