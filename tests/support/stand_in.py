"""A sweep whose runs take no time: a script that sleeps, and leaves traces of what happens to it, trains in it."""

import pathlib
import subprocess
import sys
import time

from repository import ROOT

# Does what a mode says, and leaves a trace of every start, of work at the same time, and of repeated work.
STAND_IN = """
import fcntl, json, os, pathlib, signal, sys, time
workdir, mode, seconds = (a.partition("=")[2] for a in sys.argv[1:4])
workdir, root = pathlib.Path(workdir), pathlib.Path(workdir).parent
workdir.mkdir(parents=True, exist_ok=True)
with (workdir / "starts").open("a") as file:
    file.write(f"{os.getpid()}\\n")
(workdir / "gpus").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", ""))
lock = os.open(workdir, os.O_RDONLY)
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    (workdir / "two_at_once").touch()
if (workdir / "summary.json").exists():
    sys.exit("finished already")
(workdir / "config.json").touch()
if mode == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
time.sleep(float(seconds))
if mode == "mistake":
    sys.exit(print("warning\\nwhat the user did wrong\\n", file=sys.stderr) or 2)
if mode == "stopped" and len((workdir / "starts").read_text().split()) < 4:
    sys.exit((75, 143, 138)[len((workdir / "starts").read_text().split()) - 1])
if mode == "broken" or mode == "flaky" and len((workdir / "starts").read_text().split()) == 1:
    raise RuntimeError("what broke")
summary = dict.fromkeys(("chosen_by", "rules", "last", "best_on_test", "epochs", "wrong_label_share"))
(workdir / "new").write_text(json.dumps(summary | {"seconds": 60.0}))
(workdir / "new").rename(workdir / "summary.json")
"""

SWEEP = """
from sweeps import Run

class StandIn(Run):
    def arguments(self, workdir):
        return [{script!r}, f"--workdir={{workdir}}", f"--mode={{self.cell['mode']}}", "--seconds={seconds}"]

def get_runs():
    return [StandIn("configs/digits.py", {{"mode": mode, "n": n}}) for n, mode in enumerate({modes!r})]
"""


class StandIns:
    """A sweep of stand-ins under a temporary folder."""

    def __init__(self, folder, modes, seconds=0.05):
        self.folder = folder
        (folder / "stand_in.py").write_text(STAND_IN)
        self.write(modes, seconds)

    def write(self, modes, seconds):
        self.names = [f"{mode}-{n}" for n, mode in enumerate(modes)]
        script = str(self.folder / "stand_in.py")
        (self.folder / "x.py").write_text(SWEEP.format(script=script, seconds=seconds, modes=modes))

    def start(self, *arguments, environment=None):
        """In its own process, as training forks and this process holds JAX."""
        command = [sys.executable, "scripts/sweep.py", str(self.folder / "x.py"), f"--output={self.folder}"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([*command, *arguments], cwd=ROOT, env=environment, **pipes)

    def run(self, *arguments, environment=None):
        process = self.start(*arguments, environment=environment)
        out, error = process.communicate()
        return process.returncode, out, error

    def workdir(self, name):
        return self.folder / "x" / name

    def starts(self, name):
        file = self.workdir(name) / "starts"
        return [int(line) for line in file.read_text().split()] if file.exists() else []

    def finished(self):
        """The finished runs and the files that say so: a summary that is written anew is another one."""
        files = {name: self.workdir(name) / "summary.json" for name in self.names}
        return {name: (file.stat().st_ino, file.stat().st_mtime_ns) for name, file in files.items() if file.exists()}

    def alive(self):
        return [pid for name in self.names for pid in self.starts(name) if is_alive(pid)]

    def were_two_at_once(self):
        return list((self.folder / "x").glob("*/two_at_once"))


def is_alive(pid):
    stat = pathlib.Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
