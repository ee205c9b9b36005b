"""The monitor in two gloo processes, with DistributedDataParallel and with fully_shard."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import torch_process  # noqa: E402
from torch_process import Network, batches  # noqa: E402

gwa_torch = pytest.importorskip("gwa.torch")
F = torch.nn.functional
torch.set_num_threads(1)  # two threads on a busy machine wait for each other

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("kind", ["ddp", "fully_shard"])
def test_two_processes_have_the_moments_of_one(tmp_path, kind):
    torch.manual_seed(0)
    model = Network()
    torch.save(model.state_dict(), tmp_path / "model.pt")
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", "PYTHONPATH": "src"}
    commands = [[sys.executable, torch_process.__file__, str(rank), str(tmp_path), kind] for rank in range(2)]
    processes = [subprocess.Popen(command, env=environment) for command in commands]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first == second
    if kind == "fully_shard":
        assert "DTensor" in first["refused"]
        assert "before fully_shard" in first["refused"]

    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    stream, rows = gwa_torch.AlignmentMonitor(model, "fc"), gwa_torch.AlignmentMonitor(model, "fc", num_examples=100)
    for _ in range(2):
        for step, (images, labels) in enumerate(batches(6)):
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
            optimizer.zero_grad()
            stream.update(labels)
            rows.update(labels, torch.arange(16) + 16 * step)
        for monitor, record in zip((stream, rows), (stream.end_epoch(), rows.end_epoch()), strict=True):
            other = first["rows" if monitor is rows else "stream"][len(monitor.history) - 1]
            assert other.keys() == record.keys()
            known = [name for name, value in record.items() if value is not None]
            assert [other[name] for name in known] == pytest.approx(
                [record[name] for name in known], rel=1e-6, abs=1e-6
            )
    np.testing.assert_allclose(first["alignment"], rows.samples["alignment"], rtol=0, atol=1e-6)
    assert first["prediction"] == rows.samples["prediction"].tolist()
