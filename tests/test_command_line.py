"""How every program ends: one line on stderr, and an exit code."""

import errno
import os
import pathlib
import signal
import subprocess
import sys

import jax
import pytest
from run_scripts import check_refusal, run_script

from repository import ROOT

import command_line
from errors import Stopped, UserError, explain

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/x/y")
ENDS = {
    "mistake": (UserError("what is wrong"), 2, "what is wrong"),
    "saved": (Stopped("stopped after step 3"), 75, "stopped after step 3"),
    "full": (FULL, 2, "No space left on device: /x/y; free some space and run the same command again"),
    "full in TensorStore": (
        ValueError("RESOURCE: Error writing [OS error 28: No space left on device] [tensorstore_spec='{}']"),
        *(2, "No space left on device; free some space and run the same command again"),
    ),
    "read-only": (OSError(errno.EROFS, "Read-only file system", "/x"), 2, "Read-only file system: '/x'"),
    "permission": (PermissionError(errno.EACCES, "Permission denied", "/x"), 2, "Permission denied: '/x'"),
    "host memory": (
        MemoryError("Unable to allocate 8 GiB"),
        2,
        "(Unable to allocate 8 GiB); a run takes less with a lower batch_size",
    ),
    "device memory": (
        jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes.\nmore"),
        *(2, "(RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes.); a run takes less with a lower "),
    ),
    "Ctrl-C": (KeyboardInterrupt(), 130, "ended by Ctrl-C"),
    "SIGTERM": (command_line.Ended(), 143, "ended by SIGTERM"),
}


def end(error, workdir=None):
    def main():
        raise error

    with pytest.raises(SystemExit) as exit:
        command_line.run(main, workdir)
    return exit.value.code


@pytest.mark.parametrize("name", ENDS)
def test_each_end_is_one_line_and_a_code(name, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["scripts/x.py"])
    error, code, says = ENDS[name]
    assert end(error) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("x.py: ")
    assert says in line


def test_the_cause_of_an_error_counts():
    error = RuntimeError("the checkpoint was not written")
    error.__cause__ = FULL
    assert "No space left on device" in explain(error)
    assert explain(ValueError("shapes do not match")) is None


def test_a_fault_leaves_its_traceback_in_a_file(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x.py", "--flag"])
    for workdir in (None, tmp_path):
        assert end(ZeroDivisionError("by zero"), workdir) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("x.py: internal error: ZeroDivisionError: by zero; please report it with ")
        file = pathlib.Path(line.partition(" with ")[2])
        assert file.parent != tmp_path  # which holds no run
        assert "Traceback" in file.read_text()
        assert file.read_text().startswith("x.py --flag\n")
        file.unlink()
    (tmp_path / "config.json").write_text("{}")
    end(ZeroDivisionError("by zero"), tmp_path)
    assert str(tmp_path / "traceback.txt") in capsys.readouterr().err
    assert "by zero" in (tmp_path / "traceback.txt").read_text()


def test_debug_shows_the_traceback(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x.py", "--debug"])
    assert end(UserError("what is wrong")) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback")
    assert lines[-1] == "x.py: what is wrong"


def test_a_home_is_found_that_the_shell_has_left(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    arguments = ["~/runs", "--workdir=~/x", "--config.dataset.path=~/mine.npz", "--name=a~b", "~", "--y"]
    expected = [
        f"{tmp_path}/runs",
        f"--workdir={tmp_path}/x",
        f"--config.dataset.path={tmp_path}/mine.npz",
        "--name=a~b",
    ]
    assert command_line.expand_home(arguments) == [*expected, str(tmp_path), "--y"]
    for script in ("tables.py", "figures.py", "report.py", "evaluate.py", "label_issues.py", "export.py"):
        options = ["--on=real"] if script == "evaluate.py" else []
        check_refusal(run_script(script, "~/nothing", *options), str(tmp_path / "nothing"))


def test_a_reader_that_ends_early_is_no_error():
    command = f"{sys.executable} scripts/tables.py results | head -1"
    result = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert (result.stderr, result.returncode) == ("", 0)


def test_sigterm_ends_a_script_with_one_line():
    program = "import os, signal, command_line\ncommand_line.run(lambda: os.kill(os.getpid(), signal.SIGTERM))\n"
    environment = os.environ | {"PYTHONPATH": "src"}
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (128 + signal.SIGTERM, "-c: ended by SIGTERM\n")
