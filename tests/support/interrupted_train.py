"""src/train.py, which gets a signal at a moment that can be repeated.

python interrupted_train.py SIGNAL KIND COUNT ARGUMENT ...: the moment is the COUNTth of its KIND: `file`, an operation
on a file of the work directory; `dispatch`, a dispatch of steps; `module`, an import, of which there are many before
training; `never`, to count. How many there were of each is printed when the program ends.
"""

import atexit
import collections
import json
import os
import runpy
import signal
import sys

SIGNAL, KIND, COUNT = getattr(signal, sys.argv[1]), sys.argv[2], int(sys.argv[3])
_counts = collections.Counter()


def _count(kind):
    _counts[kind] += 1
    if (kind, _counts[kind]) == (KIND, COUNT):
        os.kill(os.getpid(), SIGNAL)


def _audit(event, arguments):
    if event == "import":
        _count("module")
    elif event == "open" or event.startswith("os."):
        if any(isinstance(value, (str, os.PathLike)) and WORKDIR in str(value) for value in arguments):
            _count("file")
    elif event == "tests.dispatch":
        _count("dispatch")


def _watch_dispatches():
    from training.run import progress

    show = progress.Progress.show_dispatch

    def show_and_count(*arguments):
        show(*arguments)
        sys.audit("tests.dispatch")

    progress.Progress.show_dispatch = show_and_count


if __name__ == "__main__":
    sys.argv = ["src/train.py", *sys.argv[4:]]
    (WORKDIR,) = (argument.partition("=")[2] for argument in sys.argv if argument.startswith("--workdir="))
    sys.path[:0] = ["src", "."]
    import repository  # noqa: F401

    _watch_dispatches()
    sys.addaudithook(_audit)
    atexit.register(lambda: print(json.dumps(_counts)))
    runpy.run_path("src/train.py", run_name="__main__")
