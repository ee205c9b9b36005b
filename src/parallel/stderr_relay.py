"""BatchOrder on one process's stderr, up to the report with which JAX's runtime aborts a process whose others are gone.

That happens in C++, where Python cannot come in between, and takes a hundred lines; here it takes one. Run by
`parallel.processes` as a program that reads stdin.
"""

import re
import sys
from typing import TextIO

LOST = "another process of the job has ended; the same command, started again, goes on from its latest checkpoint"
NOT_MET = "not all processes of the job have met; start all of them together, with the same --coordinator"
_BEGINS = re.compile(r"[EF]\d{4} .*(coordination_service|preemption_sync_manager|client\.h)")


def relay(source: TextIO, target: TextIO) -> None:
    """Reads lines to the end, and says in one what begins with a report of JAX's coordination service."""
    for line in source:
        if _BEGINS.match(line):
            report = line + source.read()
            print("train.py:", NOT_MET if "RegisterTask" in report else LOST, file=target, flush=True)
            return
        print(line, end="", file=target, flush=True)


if __name__ == "__main__":
    relay(sys.stdin, sys.stderr)
