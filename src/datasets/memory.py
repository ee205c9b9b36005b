"""How much memory this process may still take."""

import os
import pathlib


def find_free_memory() -> int:
    """Bytes: of the machine and, in a container, of its limit."""
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for line in _read_lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            free = 1024 * int(line.split()[1])
    limit, used = (_read_lines(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
    if limit and used and limit[0].isdigit():
        free = min(free, max(int(limit[0]) - int(used[0]), 0))
    return free


def _read_lines(file: str) -> list[str]:
    """Of a file of Linux; none on another system."""
    try:
        return pathlib.Path(file).read_text().splitlines()
    except OSError:
        return []
