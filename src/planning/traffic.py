"""How many bytes the kernels of a compiled program read and write, from the text that XLA prints of it.

Each kernel counts its operands and its results once. What a cache saves of that is not known, and a kernel that reads a
part of an operand counts all of it, so this compares programs rather than telling their time.
"""

from __future__ import annotations

import math
import re

_BITS = {"pred": 8, "s4": 4, "u4": 4, "bf16": 16}
_NOT_KERNELS = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional", "call", "after-all"),
    "async-start",
}
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%([\w.\-]+) = (\(.*?\)|\S+) ([a-z][\w\-]*)\((.*)")
_COMPUTATION = re.compile(r"(?:ENTRY )?%([\w.\-]+) \(.*\{$")
_CALLED = re.compile(r"(?:body|condition|to_apply|calls|true_computation|false_computation)=%([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")


def count_bytes(program: str) -> int:
    """Bytes of a program; each computation that it runs, such as the body of a loop, counts once."""
    computations, entry = _split(program)
    waiting, counted, total = [entry], set[str](), 0
    while waiting:
        name = waiting.pop()
        if name in counted:
            continue
        counted.add(name)
        sizes: dict[str, int] = {}
        for result, shape, operation, rest in computations[name]:
            sizes[result] = _measure(shape)
            if operation in ("while", "conditional", "call", "async-start"):
                waiting += _CALLED.findall(rest)
                waiting += [branch for found in _BRANCHES.findall(rest) for branch in re.findall(r"%([\w.\-]+)", found)]
            if operation in _NOT_KERNELS or operation.endswith("-done"):
                continue
            operands = re.findall(r"%([\w.\-]+)", rest.partition("), ")[0])
            total += sizes[result] + sum(sizes.get(operand, 0) for operand in operands)
    return total


def _split(program: str) -> tuple[dict[str, list[tuple[str, ...]]], str]:
    """Result, shape, operation and the rest of each instruction, by computation; and the name of the entry."""
    computations: dict[str, list[tuple[str, ...]]] = {}
    name = entry = ""
    for line in program.splitlines():
        if head := _COMPUTATION.match(line):
            name = head[1]
            entry = name if line.startswith("ENTRY") else entry
            computations[name] = []
        elif name and (instruction := _INSTRUCTION.match(line)):
            computations[name].append(instruction.groups())
    return computations, entry


def _measure(shape: str) -> int:
    """Bytes of an array such as `f32[8,16]{1,0}`, or of all arrays of a tuple."""
    arrays = re.findall(r"([a-z]+\d*)\w*\[([\d,]*)\]", shape)
    return sum(_bits(kind) * math.prod(map(int, filter(None, sizes.split(",")))) // 8 for kind, sizes in arrays)


def _bits(kind: str) -> int:
    return _BITS.get(kind) or int(re.sub(r"\D", "", kind) or 0)
