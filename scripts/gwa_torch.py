"""Trains a classifier in plain PyTorch and keeps the checkpoint that its own training scores choose.

uv run --with torch scripts/gwa_torch.py [--dataset=digits] [--network=convnext] [--workdir=runs/torch_digits]

The three lines with `monitor` are all that GWA adds. tables.py and figures.py can read the work directory.
"""

import argparse
import importlib
import os
import pathlib
import shutil
import sys
import time
from typing import Any

import numpy as np

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # JAX only reads data and keeps records here; the GPU is for PyTorch

try:
    from gwa.torch import AlignmentMonitor
except ImportError as error:
    print(f"gwa_torch.py: {error}", file=sys.stderr)
    sys.exit(2)
import torch
from ml_collections import ConfigDict
from torch import Tensor, nn
from torch.nn import functional as F

import repository  # noqa: F401  (it puts our packages first on Python's path)

import command_line
import datasets
import fields
from configs import base
from datasets.feeds.order import shuffle_rows
from errors import UserError
from training.run.durable import write_json
from training.run.identity import describe_data
from training.run.reader import read_environment
from training.run.records import Records
from training.run.workdir import claim, find_summary
from training.selection import Selection, summarize
from training.signals import two_peakedness

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
EVAL_BATCH = 500  # images, where the config leaves it open


def main() -> None:
    """Trains as the command line says, and prints the choice."""
    arguments = parse()
    config = make_config(arguments)
    workdir = arguments.workdir or pathlib.Path("runs", "torch_" + pathlib.Path(arguments.dataset).stem)
    summary = find_summary(workdir, config, arguments.overwrite) or train(config, workdir, arguments.overwrite)
    chosen = {f"chosen by {rule}": choice for rule, choice in summary["rules"].items()}
    for name, choice in (chosen | {"last": summary["last"], "best on test": summary["best_on_test"]}).items():
        accuracy = "not measured" if choice["test_accuracy"] is None else f"{choice['test_accuracy']:.4f}"
        print(f"{name + ':':24} epoch {choice['epoch']}   test accuracy {accuracy}")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = command_line.Parser(__doc__)
    parser.add_argument("--dataset", default="digits", help="digits, an .npz file, or a tfds name such as cifar10_n")
    parser.add_argument("--data-dir", help="tfds: the data folder")
    parser.add_argument("--label-key", default="label", help="tfds: the feature to train on, such as random_label1")
    parser.add_argument("--train-examples", type=int, default=0, help="a stratified subset of this many; 0 for all")
    parser.add_argument("--val-fraction", type=float, default=0.0, help="share held out for validation")
    parser.add_argument("--label-noise", type=float, help="share of wrong labels; 0.2 on digits, elsewhere 0")
    parser.add_argument("--network", default="convnext", help="convnext, mlp, timm/NAME or torchvision/NAME")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--patience", type=int, default=0, help="epochs without a better one before it stops; 0: never")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workdir", type=pathlib.Path, help="runs/torch_DATASET by default")
    parser.add_argument("--overwrite", action="store_true", help="delete the run in the work directory and start again")
    return parser.parse_args()


def make_config(arguments: argparse.Namespace) -> ConfigDict:
    """Returns the arguments as fields of configs/base.py, which data, rules and records use."""
    config = base.get_config()
    config.seed, config.epochs, config.batch_size = arguments.seed, arguments.epochs, arguments.batch_size
    config.network.name = f"pytorch/{arguments.network}"
    config.optimizer.learning_rate = arguments.learning_rate
    config.stopping.patience = arguments.patience
    is_file = arguments.dataset.endswith(".npz")
    config.dataset.name = "arrays" if is_file else arguments.dataset
    if is_file or arguments.data_dir:
        config.dataset.path = arguments.dataset if is_file else arguments.data_dir
    config.dataset.label_key = arguments.label_key
    config.dataset.train_examples, config.dataset.val_fraction = arguments.train_examples, arguments.val_fraction
    rate = arguments.label_noise
    config.dataset.label_noise.rate = (0.2 if arguments.dataset == "digits" else 0.0) if rate is None else rate
    config.dataset.label_noise.kind = "symmetric" if config.dataset.label_noise.rate else "none"
    checked = base.FIELDS.keys() - {"network"}
    fields.check({name: config[name] for name in checked}, {name: base.FIELDS[name] for name in checked})
    return config


def train(config: ConfigDict, workdir: pathlib.Path, overwrite: bool) -> dict[str, Any]:
    """Trains and returns the summary."""
    splits = datasets.build(config.dataset)
    selection = Selection(config.stopping, splits)
    torch.manual_seed(config.seed)
    model = build(config.network.name.partition("/")[2], splits.train.images.shape[1:], len(splits.class_names))
    steps = -(-len(splits.train) // config.batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), config.optimizer.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.epochs * steps)
    images, labels = put_on_device(splits.train)
    head = "head" if isinstance(getattr(model, "head", None), nn.Linear) else None
    monitor = AlignmentMonitor(model, head, selection.rules[0], num_examples=len(labels), epochs=config.epochs)
    with claim(workdir, config, overwrite):
        add_to_environment(workdir / "environment.json")
        records = Records(workdir)
        records.truncate(0)  # a run that was interrupted starts again
        records.write_labels(describe_data(splits), splits.cleaning)
        for epoch in range(1, config.epochs + 1):
            started, total = time.perf_counter(), torch.zeros((), device=DEVICE)
            order = torch.from_numpy(shuffle_rows(len(labels), config.seed, epoch)).to(DEVICE)
            for rows in order.split(config.batch_size):
                loss = F.cross_entropy(model(images[rows] / 127.5 - 1), labels[rows])
                optimizer.zero_grad()
                loss.backward()
                learning_rate = schedule.get_last_lr()[0]
                optimizer.step()
                schedule.step()
                monitor.update(labels[rows], index=rows)
                total += len(rows) * loss.detach()
            record = monitor.end_epoch(
                step=epoch * steps,
                train_loss=float(total) / len(labels),
                learning_rate=learning_rate,
                **evaluate(model, "val", splits.val, config.eval_batch_size or EVAL_BATCH),
                **evaluate(model, "test", splits.test, config.eval_batch_size or EVAL_BATCH),
            )
            record["two_peakedness"] = two_peakedness(monitor.samples["alignment"])
            record["seconds"] = time.perf_counter() - started
            if not np.isfinite(record["train_loss"]):
                raise UserError(f"training diverged in epoch {epoch}; lower --learning-rate")
            if selection.update(record)[0]:
                save(model, workdir / "checkpoints" / selection.names[0], epoch)
            records.append(record, monitor.samples)
            print(*(f"{name} {record[name]}" for name in ("epoch", "gwa", "train_accuracy")), sep="   ", flush=True)
            if monitor.verdict.stop:
                break
        summary = summarize(config, selection.best_epochs, records.history, describe(model, splits))
        records.write_summary(summary)
    return summary


def build(name: str, shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """Builds the named network for images `[height, width, channels]`, on the device."""
    library, _, model_name = name.rpartition("/")
    if name == "mlp":
        model = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), 128), nn.GELU())
        model.add_module("head", nn.Linear(128, num_classes))
        return model.to(DEVICE)
    if name == "convnext":
        return convnext(shape[-1], max(1, shape[0] // 8), num_classes).to(DEVICE)
    if library not in ("timm", "torchvision"):
        raise UserError(f"--network is {name!r}; it is convnext, mlp, timm/NAME or torchvision/NAME")
    try:
        if library == "timm":
            timm = importlib.import_module("timm")
            model = timm.create_model(model_name, num_classes=num_classes, in_chans=shape[-1])
        else:
            model = importlib.import_module("torchvision").models.get_model(model_name, num_classes=num_classes)
    except ImportError:
        raise UserError(f"--network: {library} is not installed") from None
    except (RuntimeError, ValueError) as error:
        raise UserError(f"--network: {library} cannot build {model_name!r} ({str(error).splitlines()[0]})") from None
    return model.to(DEVICE)


def convnext(channels: int, patch_size: int, num_classes: int) -> nn.Sequential:
    """Builds two stages of two ConvNeXt blocks, with 32 and 64 channels."""
    stem, down = nn.Conv2d(channels, 32, patch_size, patch_size), nn.Conv2d(32, 64, 2, 2)
    blocks = (Block(32), Block(32), down, Block(64), Block(64))
    model = nn.Sequential(stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(64))
    model.add_module("head", nn.Linear(64, num_classes))
    return model


class Block(nn.Module):
    """A residual block: depthwise convolution, then a layer norm and a hidden layer at every pixel."""

    def __init__(self, width: int):
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        hidden = (nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.pointwise = nn.Sequential(nn.LayerNorm(width), *hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[B, width, H, W]` to the same shape."""
        return x + self.pointwise(self.depthwise(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def put_on_device(examples: datasets.Examples) -> tuple[Tensor, Tensor]:
    """Returns images uint8 `[N, channels, height, width]` and labels int64 `[N]`, on the device."""
    images = torch.from_numpy(np.ascontiguousarray(examples.images.transpose(0, 3, 1, 2)))
    return images.to(DEVICE), torch.from_numpy(examples.labels).long().to(DEVICE)


@torch.no_grad()
def evaluate(model: nn.Module, split: str, examples: datasets.Examples | None, batch_size: int) -> dict[str, Any]:
    """Returns loss and accuracy on a split, or None if the data set has no such split."""
    if examples is None:
        return {f"{split}_loss": None, f"{split}_accuracy": None}
    model.eval()
    images, labels = put_on_device(examples)
    logits = torch.cat([model(batch / 127.5 - 1) for batch in images.split(batch_size)])
    model.train()
    right = (logits.argmax(-1) == labels).double()
    return {f"{split}_loss": float(F.cross_entropy(logits, labels)), f"{split}_accuracy": float(right.mean())}


def save(model: nn.Module, folder: pathlib.Path, epoch: int) -> None:
    """Saves the parameters of this epoch in place of earlier ones."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / str(epoch)).mkdir(parents=True)
    torch.save(model.state_dict(), folder / str(epoch) / "model.pt")


def describe(model: nn.Module, splits: datasets.Splits) -> dict[str, Any]:
    """Returns what the summary says about data and network."""
    clean = splits.train.clean_labels
    wrong = None if clean is None else float(np.mean(splits.train.labels != clean))
    sizes = {f"{name}_examples": len(getattr(splits, name) or ()) for name in ("train", "val", "test")}
    return {"parameters": sum(p.numel() for p in model.parameters()), "wrong_label_share": wrong, **sizes}


def add_to_environment(file: pathlib.Path) -> None:
    """Writes PyTorch's version and device in place of JAX's."""
    environment = read_environment(file.parent)
    environment["packages"]["torch"] = torch.__version__
    environment["devices"] = [torch.cuda.get_device_name() if DEVICE.type == "cuda" else "cpu"]
    write_json(file, environment)


if __name__ == "__main__":
    command_line.run(main)
