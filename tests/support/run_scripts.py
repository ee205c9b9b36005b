"""The scripts, run as their users run them, or within this process."""

import contextlib
import io
import os
import runpy
import subprocess
import sys
from types import SimpleNamespace
from unittest import mock

from repository import ROOT


def start_script(name, *arguments, environment=None):
    """Runs a script in its own process."""
    command = [sys.executable, f"scripts/{name}", *map(str, arguments)]
    environment = os.environ | (environment or {})
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def run_script(name, *arguments):
    """The same within this process, because starting Python takes longer than most scripts do."""
    out, err, returncode = io.StringIO(), io.StringIO(), 0
    argv = mock.patch.object(sys, "argv", [f"scripts/{name}", *map(str, arguments)])
    with argv, contextlib.chdir(ROOT), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_path(f"scripts/{name}", run_name="__main__")
        except SystemExit as exit:
            returncode = exit.code or 0
    return SimpleNamespace(returncode=returncode, stdout=out.getvalue(), stderr=err.getvalue())


def check_refusal(result, *says):
    """A mistake is one line that says these things, and exit code 2."""
    assert (result.returncode, result.stdout) == (2, ""), result
    (line,) = result.stderr.splitlines()
    for part in says:
        assert part in line
