"""What becomes of the memory that a training step frees: on CPU it is kept, which takes less time."""

import ctypes
import os
import pathlib

# Parameters of mallopt, from glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_ACCELERATORS = ("nvidia[0-9]*", "accel*", "kfd", "vfio/[0-9]*")  # under /dev


def keep_freed_memory() -> bool:
    """Lets glibc keep what this process frees, in one pool; has no effect after JAX has started its threads.

    XLA frees the temporaries of each dispatch, which are then faulted in again page by page. The process holds on to
    the most memory that it ever needed.

    Returns:
      Whether it is so: False without glibc, or where an accelerator does the work.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or _has_accelerator():
        return False
    return all([mallopt(_ARENA_MAX, 1), mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, -1)])


def _has_accelerator() -> bool:
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return False
    return any(next(pathlib.Path("/dev").glob(pattern), None) for pattern in _ACCELERATORS)
