"""Lightning and transformers' Trainer, killed and resumed: the records of an uncut run, or an epoch that is partial."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import pytest

import gwa

torch = pytest.importorskip("torch")
import torch_hosts  # noqa: E402
from torch_process import Network, batches  # noqa: E402

gwa_torch = pytest.importorskip("gwa.torch")
torch.set_num_threads(1)  # two threads on a busy machine wait for each other

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore"),  # what these libraries warn of is theirs
]
PACKAGES = {"lightning": "lightning", "huggingface": "transformers"}


@pytest.fixture(params=torch_hosts.TRAIN)
def host(request):
    pytest.importorskip(PACKAGES[request.param])
    if request.param == "huggingface":
        pytest.importorskip("accelerate")
    return request.param


def test_a_killed_run_that_goes_on_has_the_records_of_an_uncut_one(host, tmp_path):
    """Resumed from the end of an epoch, step 8, and from within one, step 12; the run was killed in step 14."""
    (tmp_path / "gwa").symlink_to(pathlib.Path(gwa.__file__).parent)  # as installed: without src/datasets
    path = os.pathsep.join([str(tmp_path), str(pathlib.Path(torch_hosts.__file__).parent)])
    command = [sys.executable, "-W", "ignore", torch_hosts.__file__, host, tmp_path / "killed"]
    environment = os.environ | {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    killed = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    shutil.copytree(tmp_path / "killed", tmp_path / "again")

    train = torch_hosts.TRAIN[host]
    uncut = train(tmp_path / "uncut").history
    assert [record["epoch"] for record in uncut] == [1, 2, 3]
    assert all(isinstance(record["gwa"], float) and "partial" not in record for record in uncut)
    assert train(tmp_path / "killed", resume=8).history == uncut
    assert train(tmp_path / "again", resume=12).history == uncut


def test_an_epoch_that_ends_early_is_partial_and_no_rule_keeps_it(host, tmp_path):
    monitor = torch_hosts.TRAIN[host](tmp_path, max_steps=12)
    whole, partial = monitor.history
    assert "partial" not in whole
    assert (partial["epoch"], partial["partial"], partial["num_samples"]) == (2, True, 32)
    assert isinstance(partial["gwa"], float)
    assert monitor.verdict.best_epoch != 2


def without_our_state(folder, host):
    """The checkpoint of step 12 as it would be if the callback had not been there, but for the records."""
    if host == "lightning":
        path = folder / "step=12.ckpt"
        checkpoint = torch.load(path, weights_only=True)
        ((name, state),) = [(name, state) for name, state in checkpoint["callbacks"].items() if "history" in state]
        checkpoint["callbacks"][name] = {"history": state["history"]}  # an older version kept no more
        torch.save(checkpoint, path)
    else:
        path = folder / "checkpoint-12" / "trainer_state.json"
        state = json.loads(path.read_text())
        assert state["stateful_callbacks"].pop("gwa.torch.huggingface")["batches"] == 4
        path.write_text(json.dumps(state))


def test_an_epoch_whose_beginning_was_not_kept_is_partial(host, tmp_path):
    train = torch_hosts.TRAIN[host]
    uncut = train(tmp_path).history
    without_our_state(tmp_path, host)
    resumed = train(tmp_path, resume=12).history
    assert [record["epoch"] for record in resumed] == [1, 2, 3]
    assert [record.get("partial", False) for record in resumed] == [False, True, False]
    assert resumed[1]["num_samples"] == 32
    assert [resumed[0]["gwa"], resumed[2]["gwa"]] == [uncut[0]["gwa"], uncut[2]["gwa"]]


def test_an_epoch_is_partial_where_the_loader_starts_again(tmp_path):
    """Lightning warns of such a loader, and takes the first half of the rows for the second one."""
    pytest.importorskip("lightning")
    loader = torch.utils.data.DataLoader
    torch_hosts.train_with_lightning(tmp_path, loader=loader)
    for step, partial in ((8, None), (12, True)):
        monitor = torch_hosts.train_with_lightning(tmp_path, resume=step, loader=loader)
        assert [record.get("partial") for record in monitor.history] == [None, partial, None]
        assert [record["epoch"] for record in monitor.history] == [1, 2, 3]


def test_a_trainer_that_skips_no_data_sees_the_whole_epoch_again(tmp_path):
    """12 of 24 steps are left: 8 for epoch 2, and 4 for epoch 3."""
    pytest.importorskip("accelerate")
    pytest.importorskip("transformers")
    train = torch_hosts.train_with_huggingface
    train(tmp_path, max_steps=12)
    monitor = train(tmp_path, resume=12, ignore_data_skip=True)
    assert [record["epoch"] for record in monitor.history] == [1, 2, 3]
    assert [record["num_samples"] for record in monitor.history] == [64, 64, 32]


@pytest.mark.parametrize("rows", [None, 48])
def test_a_monitor_that_continues_within_an_epoch(rows):
    """In a loop of your own, after every update; all but the rounding of sums is equal."""
    rule = gwa.rules.Dissent() if rows else gwa.MaxGWA()
    torch.manual_seed(0)
    model = Network()
    images, labels = map(torch.cat, zip(*batches(3), strict=True))
    options = {"rule": rule, "num_examples": rows, "epochs": 3, "keep_samples": rows is not None}
    uncut = gwa_torch.AlignmentMonitor(model, "fc", **options)
    resumed = gwa_torch.AlignmentMonitor(model, "fc", **options)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    for _ in range(3):
        for batch in torch.arange(48).split(16):
            torch.nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
            optimizer.zero_grad()
            for monitor in (uncut, resumed):
                monitor.update(labels[batch], None if rows is None else batch)
            state, _ = resumed.state_dict(), resumed.remove()
            resumed = gwa_torch.AlignmentMonitor(model, "fc", **options)
            resumed.load_state_dict(state)
        uncut.end_epoch()
        resumed.end_epoch()
    for record, wanted in zip(resumed.history, uncut.history, strict=True):
        known = [name for name, value in wanted.items() if value is not None]
        assert [record[name] for name in known] == pytest.approx([wanted[name] for name in known], rel=1e-5, abs=1e-6)
    assert resumed.verdict == uncut.verdict
    if rows:
        issues = [monitor.find_label_issues(labels).label_quality for monitor in (resumed, uncut)]
        assert issues[0].tolist() == issues[1].tolist()
