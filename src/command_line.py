"""The command line of every program: how it reads paths, and how it ends, with one line on stderr and an exit code.

0: done. 1: a fault of the program, whose traceback is in the file that the line names. 2: something that only the user
can put right. 75: training was asked to stop, and saved; the same command continues. 130, 138 and 143: ended by Ctrl-C,
SIGUSR1 or SIGTERM without saving. `--debug` shows the traceback whatever it is.
"""

import argparse
import contextlib
import os
import pathlib
import re
import shlex
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

from errors import Stopped, UserError, explain, one_line

MISTAKE = 2
SAVED = 75  # EX_TEMPFAIL of sysexits.h
ASKED_TO_STOP = (SAVED, 128 + signal.SIGUSR1, 128 + signal.SIGTERM)
_FAULT = 1
_TRACEBACK = "traceback.txt"
_RECORD = re.compile(r"[\w.]+\.(json|jsonl|npy|npz)|label_issues\.(csv|parquet)")  # by their names


class Parser(argparse.ArgumentParser):
    """Shows the script's docstring as its help, takes no abbreviated options, and knows `--debug`."""

    def __init__(self, description: str | None):
        """Takes the docstring of the script."""
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(description=description, formatter_class=formatter, allow_abbrev=False)
        self.add_argument("--debug", action="store_true", help="show the traceback of an error")

    def parse_known_args(self, args=None, namespace=None):
        """See argparse; paths may begin with `~`."""
        return super().parse_known_args(expand_home(sys.argv[1:] if args is None else args), namespace)

    def error(self, message: str) -> NoReturn:
        """Ends the program."""
        refuse(message)


def check_output(output: pathlib.Path, inputs: Sequence[pathlib.Path] = ()) -> None:
    """Refuses an `--output` that is a folder, a file to read, or a record of a run.

    Raises:
      UserError: then.
    """
    if output.is_dir():
        raise UserError(f"--output: {output} is a folder; name a file")
    if not output.exists():
        return
    file = output.resolve()
    if file in {path.resolve() for path in inputs}:
        raise UserError(f"--output: {output} is one of the files to read; name another one")
    for folder in file.parents if _RECORD.fullmatch(file.name) or "checkpoints" in file.parts else ():
        if (folder / "config.json").exists() and (folder / "history.jsonl").exists():
            raise UserError(f"--output: {output} is a record of the run in {folder}; name another file")


class Ended(BaseException):
    """SIGTERM, as KeyboardInterrupt is Ctrl-C."""


def expand_home(arguments: Sequence[str]) -> list[str]:
    """The arguments with the user's home in place of a `~` that the shell has left, as it does in `--workdir=~/x`."""
    parts = (re.fullmatch(r"(--[\w.]+=)?(.*)", argument, re.DOTALL) for argument in arguments)
    return [(part[1] or "") + os.path.expanduser(part[2]) for part in parts if part]


def run(main: Callable[[], None], workdir: pathlib.Path | None = None) -> None:
    """Calls a program's main function, and ends the program with one line if it fails.

    Args:
      main: the function.
      workdir: of a run, which takes the traceback of a fault; without a run there, the system's temporary folder does.
    """
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _end)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal may not know every letter of a file's name
            stream.reconfigure(errors="backslashreplace")
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output, such as `head`, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except (Exception, KeyboardInterrupt, Ended) as error:
        _report(error, workdir)


def refuse(mistake: object) -> NoReturn:
    """Ends the program: its name and the mistake on stderr, and exit code 2."""
    _stop(one_line(mistake), MISTAKE)


def _report(error: BaseException, workdir: pathlib.Path | None) -> NoReturn:
    if any(argument in ("--debug", "--debug=true", "--debug=True") for argument in sys.argv):
        traceback.print_exception(error)
    if isinstance(error, KeyboardInterrupt):
        _stop("ended by Ctrl-C", 128 + signal.SIGINT)
    if isinstance(error, Ended):
        _stop("ended by SIGTERM", 128 + signal.SIGTERM)
    if isinstance(error, Stopped):
        _stop(str(error), SAVED)
    explanation = explain(error)
    if explanation is not None:
        _stop(explanation, MISTAKE)
    file = _write_traceback(error, workdir)
    what = f"{type(error).__name__}: {one_line(error)}" if str(error) else type(error).__name__
    _stop(f"internal error: {what}; please report it with {file}", _FAULT)


def _stop(line: str, code: int) -> NoReturn:
    print(f"{pathlib.Path(sys.argv[0]).name}: {line}", file=sys.stderr)
    sys.exit(code)


def _write_traceback(error: BaseException, workdir: pathlib.Path | None) -> str:
    text = shlex.join(sys.argv) + "\n\n" + "".join(traceback.format_exception(error))
    if workdir is not None and (workdir / "config.json").is_file():
        with contextlib.suppress(OSError):  # then it goes into the temporary folder; the line names the file
            (workdir / _TRACEBACK).write_text(text)
            return str(workdir / _TRACEBACK)
    with tempfile.NamedTemporaryFile("w", prefix="gwa-", suffix=f"-{_TRACEBACK}", delete=False) as file:
        file.write(text)
    return file.name


def _end(number: int, frame: object) -> None:
    raise Ended
