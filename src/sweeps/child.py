"""Becomes another Python process, after setting what must be set inside the process itself.

`python child.py PARENT SIGNALS ARGUMENT ...`: PARENT is the number of the process that started this one and whose death
ends it, or 0; SIGNALS are the numbers of those to ignore, with commas between; the arguments are Python's. All of this
outlasts `execv`. It is a program of its own because a hook between fork and exec (`preexec_fn`) is unsafe where JAX or
PyTorch have started threads.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Sets the signals and replaces this process."""
    parent, ignored, *arguments = sys.argv[1:]
    for number in filter(None, ignored.split(",")):
        signal.signal(int(number), signal.SIG_IGN)
    if int(parent):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(parent):
            sys.exit("the process that started this one has ended")
    os.execv(sys.executable, [sys.executable, *arguments])


if __name__ == "__main__":
    main()
