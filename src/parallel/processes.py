"""Several processes that train one network: how they meet, how process 0 decides for all, and how they end."""

from __future__ import annotations

import importlib.util
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

from errors import Stopped, UserError
from parallel import stderr_relay
from parallel.stderr_relay import LOST

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")

_SECONDS_SILENT = 30  # a process that has been silent for so long has ended
_SECONDS_TO_END = 2  # process 0 ends so much later than the others, which would otherwise report it as lost
_IS_LOSS = re.compile("gloo|nccl|connection|heartbeat|coordination|barrier", re.IGNORECASE)


class Placement(NamedTuple):
    """The number of this process, how many there are, and whether this one is alone on its machine."""

    process_id: int
    num_processes: int
    alone: bool


def initialize(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Joins the other processes of the job, if there are any. Call it before JAX looks for devices.

    A process that `srun` or `mpirun` started together with others, or that runs on a Cloud TPU, finds them by itself.

    Args:
      coordinator: host and port of process 0; None if the launcher tells it.
      num_processes: of the job; None if the launcher tells it.
      process_id: of this process, from 0; None if the launcher tells it.

    Raises:
      UserError: when the other processes cannot be found.
    """
    launched = _read_placement()
    if num_processes is not None and process_id is not None:
        launched = Placement(process_id, num_processes, alone=True)
    elif num_processes is not None or process_id is not None or (coordinator and launched is None):
        raise UserError(
            "--coordinator, --num_processes and --process_id belong together (srun and mpirun tell the last two)"
        )
    if launched is None and not _on_tpu():
        return
    if num_processes is not None and num_processes < 1:
        raise UserError(f"--num_processes is {num_processes}; it must be at least 1")
    if launched is not None and not 0 <= launched.process_id < launched.num_processes:
        raise UserError(f"--process_id is {launched.process_id}; it must be in 0 to {launched.num_processes - 1}")
    if launched is not None and coordinator is None and not _launcher_tells_coordinator():
        raise UserError("--coordinator is missing; it is host:port of process 0, with any free port")
    if launched is not None and coordinator is not None and launched.num_processes > 1:
        _check_coordinator(coordinator, launched)
        print(
            f"process {launched.process_id} of {launched.num_processes} meets the others at {coordinator}", flush=True
        )
    _relay_stderr()
    import jax

    try:
        # Alone on its machine a process takes all devices it sees; otherwise JAX gives each its own.
        jax.distributed.initialize(
            coordinator,
            launched and launched.num_processes,
            launched and launched.process_id,
            local_device_ids=[] if launched and launched.alone else None,
            heartbeat_timeout_seconds=_SECONDS_SILENT,
        )
    except ValueError as error:  # a TPU without the metadata of a pod
        raise UserError(
            f"the other processes cannot be found ({error}); set --coordinator, --num_processes and --process_id"
        ) from None


def _check_coordinator(coordinator: str, launched: Placement) -> None:
    """Refuses what is no host:port, and a port of this machine that another program holds."""
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UserError(f"--coordinator is {coordinator!r}; it must be host:port of process 0, with a port below 65536")
    if launched.process_id == 0:
        try:
            socket.create_server(("", int(port))).close()
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise UserError(f"--coordinator: port {port} of this machine cannot be used ({reason})") from None


def is_multiprocess() -> bool:
    """Whether this process is one of several."""
    import jax

    return jax.distributed.is_initialized() and jax.process_count() > 1


def is_main() -> bool:
    """Whether this process is the one that writes files and prints."""
    import jax

    return not jax.distributed.is_initialized() or jax.process_index() == 0


def run_on_main(action: Callable[[], T]) -> T:
    """Runs an action on process 0 alone; all processes wait for its result and return it, sent as JSON.

    Raises:
      UserError: on process 0, if the action raises it. The other processes then exit with code 2 and say nothing.
    """
    if not is_multiprocess():
        return action()
    if not is_main():
        answer: Any = gather_from_all(None)[0]
        if "refused" in answer:
            sys.exit(2)
        return answer["result"]
    try:
        result = action()
    except UserError:
        gather_from_all({"refused": True})
        time.sleep(_SECONDS_TO_END)
        raise
    return gather_from_all({"result": result})[0]["result"]


def gather_from_all(value: T) -> list[T]:
    """The values of all processes in their order, sent as JSON; every process must call this."""
    if not is_multiprocess():
        return [value]
    import numpy as np
    from jax.experimental import multihost_utils

    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    lengths = multihost_utils.process_allgather(np.int32(len(text)))
    texts = multihost_utils.process_allgather(np.resize(text, int(lengths.max())))
    return [json.loads(row[:length].tobytes()) for row, length in zip(texts, lengths.tolist(), strict=True)]


def find_disagreement(values: Mapping[str, Any]) -> tuple[int, list[str]] | None:
    """The first process whose values are not those of process 0, and their names; None if all agree."""
    first, *others = gather_from_all(dict(values))
    for number, other in enumerate(others, start=1):
        if names := [name for name in {**first, **other} if first.get(name) != other.get(name)]:
            return number, names
    return None


def refuse_together(mistake: str) -> NoReturn:
    """Ends all processes, each of which must call this.

    Raises:
      UserError: on process 0, a little later than the others end.
    """
    if not is_main():
        sys.exit(2)
    time.sleep(_SECONDS_TO_END)
    raise UserError(mistake)


def check_shared(file: pathlib.Path) -> None:
    """Refuses a file that process 0 has just written and another process does not see as it is.

    Raises:
      UserError: then.
    """
    if not is_multiprocess():
        return

    def read() -> int | None:
        return zlib.crc32(file.read_bytes()) if file.exists() else None

    written, ends = gather_from_all(read())[0], time.monotonic() + _SECONDS_SILENT
    while read() != written and time.monotonic() < ends:  # network file systems show it a little later
        time.sleep(0.5)
    blind = [number for number, sees in enumerate(gather_from_all(read() == written)) if not sees]
    if blind:
        refuse_together(
            f"--workdir: process {blind[0]} does not see what process 0 has written into {file.parent}; it must be one "
            "folder that all processes share"
        )


def broadcast(array: np.ndarray) -> np.ndarray:
    """The array of process 0, on every process; all pass arrays of one shape and dtype."""
    if not is_multiprocess():
        return array
    import numpy as np
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.broadcast_one_to_all(array))


@contextmanager
def name_loss() -> Iterator[None]:
    """Says in one line that another process has ended, instead of JAX's connection error.

    Raises:
      Stopped: then; the same command continues from the latest checkpoint.
    """
    import jax

    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:  # gloo's losses come as either
        if is_multiprocess() and _IS_LOSS.search(str(error)):
            raise Stopped(LOST) from error
        raise


@contextmanager
def end_together() -> Iterator[None]:
    """Lets one of several processes that fails exit at once, so that the others notice.

    An ordinary exit would wait for the others, which wait for this process.
    """
    try:
        yield
    except SystemExit as exit:
        if not is_multiprocess():
            raise
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit.code if isinstance(exit.code, int) else 1)


def _read_placement() -> Placement | None:
    """The placement that Open MPI or Slurm tells; None if neither started this process together with others."""
    environment = os.environ
    if int(environment.get("OMPI_COMM_WORLD_SIZE", 1)) > 1:
        rank, size, beside = (int(environment[f"OMPI_COMM_WORLD_{name}"]) for name in ("RANK", "SIZE", "LOCAL_SIZE"))
        return Placement(rank, size, alone=beside == 1)
    # Slurm's step, not its job: a batch script that starts one process may have been given more tasks.
    if (size := int(environment.get("SLURM_STEP_NUM_TASKS", 1))) > 1 and "OMPI_COMM_WORLD_SIZE" not in environment:
        return Placement(int(environment["SLURM_PROCID"]), size, alone=environment["SLURM_STEP_NUM_NODES"] == str(size))
    return None


def _launcher_tells_coordinator() -> bool:
    """Whether JAX can read the coordinator from the launcher: from Open MPI 4 and Slurm, not from Open MPI 5."""
    return "OMPI_MCA_orte_hnp_uri" in os.environ or (
        "OMPI_COMM_WORLD_SIZE" not in os.environ and "SLURM_STEP_NUM_TASKS" in os.environ
    )


def _relay_stderr() -> None:
    """Makes stderr say in one line why JAX's runtime aborts this process, from here on."""
    command = [sys.executable, stderr_relay.__file__]
    # In its own session it outlives the interrupt or the kill of the process group, and still says why.
    relay = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    assert relay.stdin is not None
    os.dup2(relay.stdin.fileno(), sys.stderr.fileno())
    relay.stdin.close()


def _on_tpu() -> bool:
    """Whether JAX will find TPU chips here."""
    chips = [*pathlib.Path("/dev").glob("accel*"), *pathlib.Path("/dev").glob("vfio/*")]
    return bool(chips) and importlib.util.find_spec("libtpu") is not None and not os.environ.get("JAX_PLATFORMS")
