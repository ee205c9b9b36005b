"""Passes on the stderr of a process, and shortens the report of JAX's runtime when it aborts because others are gone.

The runtime aborts in C++, where Python cannot intervene, and prints a hundred lines; this program prints one.
`parallel.processes` starts it, and it reads stdin.
"""

import re
import sys
from typing import TextIO

LOST = "another process of the job has ended; start the same command again to continue from the latest checkpoint"
NOT_MET = "not all processes of the job have met; start all of them together, with the same --coordinator"
_BEGINS = re.compile(r"[EF]\d{4} .*(coordination_service|preemption_sync_manager|client\.h)")


def relay(source: TextIO, target: TextIO) -> None:
    """Copies lines to the end; a report of JAX's coordination service becomes one line."""
    for line in source:
        if _BEGINS.match(line):
            report = line + source.read()
            print("train.py:", NOT_MET if "RegisterTask" in report else LOST, file=target, flush=True)
            return
        print(line, end="", file=target, flush=True)


if __name__ == "__main__":
    relay(sys.stdin, sys.stderr)
