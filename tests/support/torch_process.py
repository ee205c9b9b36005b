"""A small network with its batches, and, as a script, one process of a distributed run on them."""

import json
import os
import pathlib
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from gwa.torch import AlignmentMonitor


class Network(nn.Module):
    """Two layers; the second is the head."""

    def __init__(self, features=6, hidden=8, classes=4):
        super().__init__()
        self.hidden, self.fc = nn.Linear(features, hidden), nn.Linear(hidden, classes)

    def forward(self, images):
        return self.fc(self.hidden(images).relu())


def batches(count=3, size=16, features=6, classes=4):
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        images = torch.randn(size, features, generator=generator)
        yield images, torch.randint(0, classes, (size,), generator=generator)


def distribute(model, kind):
    """The model for several processes, and two monitors of it."""
    if kind == "ddp":
        model = nn.parallel.DistributedDataParallel(model)
    monitors = AlignmentMonitor(model, "fc"), AlignmentMonitor(model, "fc", num_examples=100)
    if kind == "fully_shard":  # while the weights are whole, so after the monitors
        mesh = init_device_mesh("cpu", (2,))
        fully_shard(model.fc, mesh=mesh)
        fully_shard(model, mesh=mesh)
    return model, *monitors


def resumed(monitor, model, num_examples=None):
    """A new monitor that continues from the state of this one."""
    state = monitor.state_dict()
    monitor.remove()
    monitor = AlignmentMonitor(model, "fc", num_examples=num_examples)
    monitor.load_state_dict(state)
    return monitor


def refusal(model):
    """What the monitor says of this model."""
    try:
        AlignmentMonitor(model, "fc").remove()
    except ValueError as error:
        return str(error)
    return None


def main(rank, folder, kind):
    """Every other row of each batch, two epochs; the records as JSON."""
    dist.init_process_group("gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=2)
    model = Network()
    model.load_state_dict(torch.load(folder / "model.pt"))
    model, stream, rows = distribute(model, kind)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(2):
        for step, (images, labels) in enumerate(batches(6)):
            part = torch.arange(8) * 2 + rank
            nn.functional.cross_entropy(model(images[part]), labels[part]).backward()
            optimizer.step()
            optimizer.zero_grad()
            stream.update(labels[part])
            rows.update(labels[part], part + 16 * step)
            if kind == "ddp" and step == 2:  # a monitor of a sharded model cannot be made again
                stream, rows = resumed(stream, model), resumed(rows, model, 100)
        stream.end_epoch()
        rows.end_epoch()
    samples = {name: values.tolist() for name, values in rows.samples.items()}
    shown = {"stream": stream.history, "rows": rows.history, "refused": refusal(model), **samples}
    (folder / f"{rank}.json").write_text(json.dumps(shown))
    dist.destroy_process_group()
    # On a busy machine a thread of Gloo may still run: it can abort an ordinary exit, and wait for ever for the model.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3])
