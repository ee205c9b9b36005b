"""Several processes give what one gives, and end together."""

import io
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import image_folder
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, PartitionSpec

from errors import UserError
from parallel import devices, processes
from parallel.stderr_relay import LOST, NOT_MET, relay

ROOT = pathlib.Path(__file__).parents[2]
FIELDS = ("train_loss", "train_accuracy", "gwa", "alignment_mean", "excess_kurtosis", "test_loss", "test_accuracy")
NETWORK = (
    "--config.network.name=convnextv2",
    "--config.network.patch_size=4",
    "--config.network.depths=(1,)",
    "--config.network.widths=(32,)",
    "--config.optimizer.name=adamw",
    "--config.batch_size=16",
    "--config.epochs=3",
)


def start(workdir, options, processes, further=((), ())):
    """The processes of one job, each with as many devices as there are processes, and with options of its own."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"--coordinator=localhost:{free.getsockname()[1]}"
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={processes}",
    }
    command = [sys.executable, "src/train.py", "--config=configs/base.py", f"--workdir={workdir}", *options, *NETWORK]
    job = []
    for i in range(processes):
        several = [coordinator, f"--num_processes={processes}", f"--process_id={i}"] if processes > 1 else []
        job.append(
            subprocess.Popen(
                [*command, *several, *further[i]],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
    return job


def run(workdir, options, processes):
    outputs = [process.communicate(timeout=300) for process in start(workdir, options, processes)]
    return [out for out, _ in outputs], [error for _, error in outputs]


def records(workdir):
    history = [json.loads(line) for line in (workdir / "history.jsonl").read_text().splitlines()]
    return history, np.load(workdir / "scores.npy"), np.load(workdir / "predictions.npy")


def check_equal(workdir, other):
    for one, two in zip(records(workdir)[0], records(other)[0], strict=True):
        assert [one[name] for name in FIELDS] == pytest.approx([two[name] for name in FIELDS], abs=1e-5)
    np.testing.assert_allclose(records(workdir)[1], records(other)[1], atol=1e-5)
    np.testing.assert_array_equal(records(workdir)[2], records(other)[2])


@pytest.fixture(scope="module")
def streamed(tmp_path_factory):
    """21 training images, one of which cannot be read: batches of 16 that 4 devices do not share equally."""
    folder = image_folder.write(tmp_path_factory.mktemp("streamed") / "images", per_class=7)
    damaged = folder / "train" / "n02" / "3.jpg"
    damaged.write_bytes(b"")
    image_folder.write(folder.parent, splits=["further"], per_class=3)
    options = (
        "--config.dataset.name=folder",
        "--config.dataset.feed=stream",
        f"--config.dataset.path={folder}",
        "--config.dataset.image_size=16",
        "--config.dataset.stream.resize=20",
        "--config.dataset.stream.damaged=skip",
        "--config.augment.flip=True",
        "--config.eval_batch_size=5",
        "--config.evaluate=('further',)",
        f"--config.evaluate_path={folder.parent}",
    )
    run(folder.parent / "one", options, 1)
    return folder.parent / "one", options, str(damaged)


@pytest.mark.parametrize(
    "sharding", [pytest.param("data", marks=pytest.mark.long), pytest.param("fsdp", marks=pytest.mark.slow)]
)
def test_two_processes_with_two_devices_each_are_one_with_one(streamed, tmp_path, sharding):
    one, options, damaged = streamed
    (out, silent), errors = run(tmp_path / "run", [*options, f"--config.sharding={sharding}"], 2)
    assert "batch of 16: 4 on each of 4 devices of 2 processes" in out, errors
    assert "epoch" not in silent
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["skipped_images"] == [damaged]
    evaluations = [json.loads((path / "evaluations.json").read_text())["further"] for path in (tmp_path / "run", one)]
    assert evaluations[0] | {"seconds": 0} == evaluations[1] | {"seconds": 0}
    check_equal(tmp_path / "run", one)


@pytest.mark.slow
def test_a_killed_process_ends_the_job_which_goes_on_when_started_again(tmp_path):
    options = ["--config.dataset.name=digits", "--config.dataset.train_examples=203", "--config.sharding=fsdp"]
    options += ["--config.steps_per_dispatch=1", "--config.checkpoint_steps=5"]
    job = start(tmp_path / "killed", options, 2)
    latest = tmp_path / "killed" / "checkpoints" / "resume"
    while not (latest / "18").exists():  # 13 steps are an epoch
        assert job[1].poll() is None
        time.sleep(0.01)
    os.kill(job[1].pid, signal.SIGKILL)
    killed = time.monotonic()
    _, error = job[0].communicate(timeout=60)
    job[1].communicate(timeout=60)
    assert time.monotonic() - killed < 60
    assert job[0].returncode not in (0, None)
    assert error.splitlines()[-1] == f"train.py: {LOST}"
    assert any((latest / step).exists() for step in ("18", "23"))

    run(tmp_path / "killed", options, 1)  # on other hardware
    run(tmp_path / "one", options, 1)
    check_equal(tmp_path / "killed", tmp_path / "one")


@pytest.mark.long
def test_all_processes_set_a_damaged_checkpoint_aside(tmp_path):
    options, workdir = ["--config.dataset.name=digits", "--config.dataset.train_examples=100"], tmp_path / "run"
    run(workdir, options, 2)
    shutil.copytree(workdir, tmp_path / "before")
    (workdir / "summary.json").unlink()
    steps = sorted((workdir / "checkpoints" / "resume").iterdir(), key=lambda path: int(path.name))
    for path in steps[-1].rglob("d/*"):
        path.write_bytes(path.read_bytes()[:-9])
    _, errors = run(workdir, options, 2)
    assert f"training continues after step {steps[0].name}" in errors[0]
    assert "cannot be restored" not in errors[1]
    check_equal(workdir, tmp_path / "before")


@pytest.mark.long
def test_a_signal_to_one_process_stops_all_after_the_same_step(tmp_path):
    options = ["--config.dataset.name=digits", "--config.dataset.train_examples=203", "--config.steps_per_dispatch=1"]
    job = start(tmp_path / "stopped", options, 2)
    while not (tmp_path / "stopped" / "checkpoints" / "resume" / "13").exists():
        assert job[1].poll() is None
        time.sleep(0.01)
    job[1].send_signal(signal.SIGTERM)
    errors = [process.communicate(timeout=60)[1] for process in job]
    assert [process.returncode for process in job] == [75, 75], errors
    lines = [error.splitlines()[-1] for error in errors]
    steps = {re.search(r"after step (\d+) of 39", line)[1] for line in lines}
    assert len(steps) == 1
    run(tmp_path / "stopped", options, 2)
    run(tmp_path / "whole", options, 2)
    assert records(tmp_path / "stopped")[1].tobytes() == records(tmp_path / "whole")[1].tobytes()


def test_a_mistake_ends_all_processes_with_one_line(tmp_path):
    """The work directory, which only process 0 looks at."""
    (tmp_path / "something").write_text("else")
    job = start(tmp_path, ["--config.dataset.name=digits"], 2)
    errors = [process.communicate(timeout=120)[1] for process in job]
    lines = [line for error in errors for line in error.splitlines() if line.startswith("train.py")]
    assert lines == [f"train.py: --workdir: {tmp_path} is not empty and holds no run; choose another directory"]
    assert [process.returncode for process in job] == [2, 2]


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        pytest.param(
            *((), ("--config.seed=7", "--config.epochs=4")),
            "0 and 1 were started with different epochs, seed; all",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *((), ("--workdir={elsewhere}",)),
            "process 1 does not see what process 0 has written into {workdir}; it",
            marks=pytest.mark.long,
        ),
        pytest.param(
            ("--config.dataset.name=arrays", "--config.dataset.path={elsewhere}/0.npz"),
            ("--config.dataset.name=arrays", "--config.dataset.path={elsewhere}/1.npz"),
            "dataset: processes 0 and 1 read different data (labels); all need the same files",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["configs", "work directories", "data"],
)
def test_processes_that_do_not_agree_are_refused(tmp_path, first, second, says):
    """They would train one network on whatever each of them takes for the run."""
    names = {"workdir": tmp_path / "run", "elsewhere": tmp_path}
    images = np.zeros((40, 8, 8, 1), np.uint8)
    for number, labels in enumerate((np.arange(40) % 3, np.arange(40)[::-1] % 3)):
        np.savez(tmp_path / f"{number}.npz", images=images, labels=labels)
    options = ["--config.dataset.name=digits", "--config.dataset.train_examples=0"]
    further = [[option.format(**names) for option in each] for each in (first, second)]
    job = start(tmp_path / "run", options, 2, further)
    errors = [process.communicate(timeout=120)[1] for process in job]
    assert [process.returncode for process in job] == [2, 2], errors
    lines = [line for error in errors for line in error.splitlines() if line.startswith("train.py")]
    assert len(lines) == 1
    assert says.format(**names) in lines[0]


def test_full_sharding_cuts_the_largest_dimension_that_the_devices_share():
    mesh = AbstractMesh((4,), ("data",))
    shapes = {"a": (64, 128), "b": (130, 64), "c": (8, 8), "d": (63, 127), "e": ()}
    tree = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}
    specs = jax.tree.map(lambda sharding: sharding.spec, devices.parameter_shardings(tree, mesh, "fsdp"))
    whole = PartitionSpec()
    assert specs == {
        "a": PartitionSpec(None, "data"),
        "b": PartitionSpec(None, "data"),
        "c": whole,
        "d": whole,
        "e": whole,
    }
    assert set(
        jax.tree.leaves(jax.tree.map(lambda s: s.spec == whole, devices.parameter_shardings(tree, mesh, "data")))
    ) == {True}
    with pytest.raises(UserError, match=r"sharding is 'zero'; it must be data or fsdp"):
        devices.parameter_shardings(tree, mesh, "zero")


def test_the_evaluation_batch_suits_the_devices():
    cpus, gpus = (
        SimpleNamespace(size=4, devices=np.array([SimpleNamespace(platform=name)] * 4)) for name in ("cpu", "gpu")
    )
    assert [devices.choose_eval_batch_size(None, mesh) for mesh in (cpus, gpus)] == [128, 2000]
    assert devices.choose_eval_batch_size(7, gpus) == 7


SLURM = {"SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "3", "SLURM_STEP_NUM_NODES": "8"}
OPEN_MPI = {"OMPI_COMM_WORLD_RANK": "5", "OMPI_COMM_WORLD_SIZE": "8", "OMPI_COMM_WORLD_LOCAL_SIZE": "4"}


@pytest.mark.parametrize(
    ("environment", "flags", "expected"),
    [
        ({}, (None, None, None), None),
        ({}, ("host:1", 4, 2), ("host:1", 4, 2, [])),
        (SLURM, (None, None, None), (None, 8, 3, [])),
        (SLURM | {"SLURM_STEP_NUM_NODES": "2"}, (None, None, None), (None, 8, 3, None)),
        (SLURM | {"SLURM_STEP_NUM_TASKS": "1"}, (None, None, None), None),
        (OPEN_MPI | {"OMPI_MCA_orte_hnp_uri": "1.0;tcp://10.0.0.1:1"}, (None, None, None), (None, 8, 5, None)),
        (OPEN_MPI | {"OMPI_COMM_WORLD_LOCAL_SIZE": "1"}, ("host:1", None, None), ("host:1", 8, 5, [])),
        (OPEN_MPI | SLURM, ("host:1", None, None), ("host:1", 8, 5, None)),
    ],
)
def test_the_launcher_tells_who_a_process_is(monkeypatch, environment, flags, expected):
    """One process to a machine takes all its devices; of several, JAX gives each its own."""
    given = []
    monkeypatch.setattr(os, "environ", environment)
    monkeypatch.setattr(processes, "_relay_stderr", lambda: None)
    monkeypatch.setattr(
        jax.distributed, "initialize", lambda *args, local_device_ids, **_: given.append((*args, local_device_ids))
    )
    processes.initialize(*flags)
    assert given == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("environment", "flags", "message"),
    [
        ({}, ("host:1", None, None), "belong together"),
        ({}, (None, 2, None), "belong together"),
        ({}, (None, 2, 0), "--coordinator is missing"),
        ({}, ("host:1", 2, 2), "--process_id is 2; it must be in 0 to 1"),
        ({}, ("host:1", 0, 0), "--num_processes is 0; it must be at least 1"),
        ({}, ("host", 2, 1), "--coordinator is 'host'; it must be host:port"),
        ({}, ("host:99999", 2, 1), "--coordinator is 'host:99999'; it must be host:port"),
        (OPEN_MPI, (None, None, None), "--coordinator is missing"),
    ],
)
def test_flags_that_leave_something_open_are_refused(monkeypatch, environment, flags, message):
    monkeypatch.setattr(os, "environ", environment)
    with pytest.raises(UserError, match=message):
        processes.initialize(*flags)


def test_a_port_that_is_taken_is_refused(monkeypatch):
    monkeypatch.setattr(os, "environ", {})
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"port {port} of this machine cannot be used \(Address already in use\)"):
            processes.initialize(f"localhost:{port}", 2, 0)


def test_a_tpu_without_a_pod_is_told_what_to_say(monkeypatch):
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(processes, "_on_tpu", lambda: True)
    monkeypatch.setattr(processes, "_relay_stderr", lambda: None)

    def finds_nothing(*_, **__):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", finds_nothing)
    with pytest.raises(UserError, match=r"cannot be found \(coordinator_address should be defined.*set --coordinator"):
        processes.initialize(None, None, None)


@pytest.mark.parametrize(("call", "line"), [("RegisterTask", NOT_MET), ("PollForError", LOST)])
def test_the_runtimes_report_becomes_one_line(call, line):
    report = f"F1123 15:49:08.040720    4720 client.h:80] Terminating process\n\nRPC: {call}\n*** Check failure ***\n"
    told = io.StringIO()
    relay(io.StringIO("a warning\n" + report), told)
    assert told.getvalue() == f"a warning\ntrain.py: {line}\n"
