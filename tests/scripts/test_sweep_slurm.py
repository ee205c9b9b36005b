"""Sweeps on a real Slurm of one node, which this test starts for itself; .ci/run installs the packages."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

import numpy as np
import pytest
from stand_in import ROOT, StandIns, wait_for

pytestmark = pytest.mark.slurm

CONFIGURATION = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
KillWait=2
ReturnToService=2
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="module")
def slurm():
    """The environment in which Slurm's commands find the cluster."""
    if os.getuid() or not all(map(shutil.which, ("slurmctld", "slurmd", "sbatch", "munged"))):
        pytest.skip("needs root, and Debian's slurmctld, slurmd, slurm-client and munge")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="gwa-slurm-"))
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    file = folder / "slurm.conf"
    host = socket.gethostname().partition(".")[0]
    file.write_text(CONFIGURATION.format(folder=folder, host=host, ports=free_ports(2), cpus=os.cpu_count()))
    environment = os.environ | {"SLURM_CONF": str(file)}
    subprocess.run(["mungekey", f"--keyfile={folder}/munge.key"], check=True)
    munged = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
    commands = (
        ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *munged],
        ["slurmctld", "-D", "-f", str(file)],
        ["slurmd", "-D", "-f", str(file)],
    )
    daemons = []
    try:
        for command in commands:
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            daemons.append(subprocess.Popen(command, env=environment, **quiet))
            wait_for((folder / "munge.socket").exists, 30)
        sinfo = ["sinfo", "--noheader", "--format=%T"]
        wait_for(lambda: "idle" in subprocess.run(sinfo, env=environment, capture_output=True, text=True).stdout, 60)
        yield environment
        subprocess.run(["scancel", "--user=root"], env=environment)
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            daemon.wait(30)
        shutil.rmtree(folder)


DIGITS = """
from sweeps import Run

def get_runs():
    small = {
        "dataset.train_examples": 100, "network.depths": (1,), "network.widths": (8,), "stopping.warmup": 0.0,
        "checkpoint_minutes": 0.0,
    }
    return [
        Run("configs/digits.py", {"seed": seed}, {**small, "seed": seed, "epochs": 2 if seed else 40})
        for seed in range(2)
    ]
"""


def read(path):
    return json.loads(path.read_text())


def test_slurm_gives_what_training_here_gives(tmp_path, slurm):
    """Also when a job's time is up and it is queued again: the signal is what Slurm sends then."""
    (tmp_path / "x.py").write_text(DIGITS)
    here, there = tmp_path / "here", tmp_path / "there"
    command = [sys.executable, "scripts/sweep.py", str(tmp_path / "x.py")]
    options = ["--launcher=slurm", "--max_parallel=2", "--time_limit=60", "--cpus_per_task=1", f"--output={there}"]
    process = subprocess.Popen([*command, *options], cwd=ROOT, env=slurm, stdout=subprocess.PIPE, text=True)
    array = process.stdout.readline().split()[4].rstrip(";")
    wait_for((there / "x" / "seed0" / "checkpoints" / "resume" / "6").exists, 300)
    subprocess.run(["scancel", "--signal=USR2", f"{array}_0"], env=slurm, check=True)
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 0, out
    assert out.splitlines()[-1] == "2 of 2 runs are finished"

    subprocess.run([*command, f"--output={here}"], cwd=ROOT, check=True)
    for seed in range(2):
        ours, theirs = (folder / "x" / f"seed{seed}" for folder in (here, there))
        np.testing.assert_array_equal(np.load(ours / "scores.npy"), np.load(theirs / "scores.npy"))
        summaries = [read(workdir / "summary.json") for workdir in (ours, theirs)]
        for name in ("chosen_by", "rules", "last", "best_on_test", "epochs", "parameters", "train_examples"):
            assert summaries[0][name] == summaries[1][name], name
    assert len(read(there / "x" / "seed0" / "environment.json")["resumed"]) == 1
    assert "resumed" not in read(there / "x" / "seed1" / "environment.json")


def test_failures_on_slurm_are_tried_once_more_and_listed(tmp_path, slurm):
    stand_ins = StandIns(tmp_path, ["fine", "flaky", "broken", "mistake"])
    code, out, error = stand_ins.run("--launcher=slurm", "--max_parallel=4", environment=slurm)
    assert (code, error) == (1, "")
    assert [len(stand_ins.starts(name)) for name in stand_ins.names] == [1, 2, 2, 1]
    logs = tmp_path / "x" / "logs"
    assert out.splitlines()[-7:] == [
        "2 of 4 runs are finished",
        *("mistake-3: exit code 2", "    what the user did wrong", f"    {logs / 'mistake-3.log'}"),
        *("broken-2: exit code 1", "    RuntimeError: what broke", f"    {logs / 'broken-2.log'}"),
    ]


def test_a_stopped_sweep_leaves_no_job(tmp_path, slurm):
    stand_ins = StandIns(tmp_path, ["fine"] * 4, seconds=300)
    process = stand_ins.start("--launcher=slurm", "--max_parallel=2", environment=slurm)
    wait_for(lambda: len(stand_ins.alive()) == min(2, os.cpu_count()), 60)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out.splitlines()[-1]) == (75, "stopped; the same command continues")
    wait_for(lambda: not stand_ins.alive(), 60)
    squeue = ["squeue", "--noheader"]
    wait_for(lambda: not subprocess.run(squeue, env=slurm, check=True, capture_output=True).stdout, 60)


def test_a_job_that_slurm_kills_is_submitted_once_more(tmp_path, slurm):
    stand_ins = StandIns(tmp_path, ["deaf"], seconds=10)  # longer than KillWait
    process = stand_ins.start("--launcher=slurm", environment=slurm)
    job = process.stdout.readline().split()[4].rstrip(";")
    wait_for(stand_ins.alive, 60)
    subprocess.run(["scancel", job], env=slurm, check=True)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out
    assert "(ended by Slurm: " in out
    assert len(stand_ins.starts("deaf-0")) == 2


def test_what_slurm_refuses_is_one_line(tmp_path, slurm):
    stand_ins = StandIns(tmp_path, ["fine"])
    code, out, error = stand_ins.run("--launcher=slurm", "--partition=none", environment=slurm)
    assert (code, out) == (2, "")
    (line,) = error.splitlines()
    assert line.startswith("sweep.py: Slurm refuses the sweep: ")
    assert "Invalid partition name" in line


def test_processes_that_srun_starts_train_one_network(tmp_path, slurm):
    """Here two tasks on one node, each with a device of its own; nothing but srun says that there are two."""
    options = ["--config=configs/digits.py", "--config.epochs=2", "--config.dataset.train_examples=100"]
    train = [sys.executable, "src/train.py", *options]
    environment = slurm | {"JAX_PLATFORMS": "cpu"}
    srun = ["srun", "--ntasks=2", "--overcommit", *train, f"--workdir={tmp_path / 'two'}"]
    result = subprocess.run(srun, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("batch of 64: 32 on each of 2 devices of 2 processes") == 1
    subprocess.run([*train, f"--workdir={tmp_path / 'one'}"], cwd=ROOT, env=environment, check=True, timeout=300)
    two, one = (np.load(tmp_path / name / "scores.npy") for name in ("two", "one"))
    np.testing.assert_allclose(two, one, atol=1e-5)
