"""Exceptions that are shown to the user as one line, and one-line explanations of other exceptions."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator


class UserError(Exception):
    """Something the user can put right: one line that says what is wrong, where, and what would be right.

    The command line prints it without a traceback and exits with code 2.
    """


class Stopped(Exception):
    """Training has ended because a signal asked for it, and everything is saved: one line, and exit code 75."""


_FULL = (errno.ENOSPC, errno.EDQUOT)
_DEVICE_MEMORY = re.compile(r"RESOURCE_EXHAUSTED|[Oo]ut of memory")
_LESS_MEMORY = "a run takes less with a lower batch_size or eval_batch_size, or a higher optimizer.accumulation_steps"


def explain(error: BaseException) -> str | None:
    """What is wrong, in one line, if the user, the disk or the memory is the cause; None if the program may be.

    Libraries raise what the system has said as errors of their own, so the causes of an error are looked at too.
    """
    if isinstance(error, UserError):
        return one_line(error)
    for cause in _list_causes(error):
        said = next((text for number in _FULL if (text := os.strerror(number)) in str(cause)), None)
        if said:
            where = f": {cause.filename}" if isinstance(cause, OSError) and cause.filename else ""
            return f"{said}{where}; free some space and run the same command again"
        if os.strerror(errno.EFBIG) in str(cause):
            return f"{os.strerror(errno.EFBIG)}; raise the limit on the size of files (ulimit -f)"
        if isinstance(cause, MemoryError):
            return f"not enough memory on this machine ({one_line(cause)}); {_LESS_MEMORY}"
        if _DEVICE_MEMORY.search(str(cause)):
            return f"not enough memory on a device ({_first_line(cause)}); {_LESS_MEMORY}"
    return _say(error) if isinstance(error, OSError) else None


def one_line(error: object) -> str:
    """What an exception says: of several lines the last one, which says it."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else repr(error)


def config_mistake(error: Exception) -> str:
    """What is wrong with a config, from whatever reading it has raised."""
    if isinstance(error, (AttributeError, KeyError)):  # ml_collections wraps the name, and its guess, in several quotes
        field, guess = re.search(r"\w+", str(error)), re.search(r'mean "(\w+)"', str(error))
        return f"the config has no field {field and field[0]}" + (f"; did you mean {guess[1]}?" if guess else "")
    return one_line(error)


def _list_causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _say(error: OSError) -> str:
    """What an OSError says without its number: `Permission denied: '/x'`."""
    return re.sub(r"^\[Errno \d+\] ", "", one_line(error))


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0].strip()
