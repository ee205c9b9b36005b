"""Compares what things cost on this machine, in rounds, each way once per round in a random order.

uv run scripts/benchmark.py score                                    the alignments of a batch, three ways
uv run scripts/benchmark.py step [--config=configs/cifar10_small.py] a training step without and with the score
uv run scripts/benchmark.py epoch [--config=...]                     an epoch as users run it, against its bare steps
uv run scripts/benchmark.py accelerator [--config=...]               a step in several forms; the ceilings
uv run scripts/benchmark.py start [--against=other_checkout]         start to first step; the answer to a typo
uv run scripts/benchmark.py growth                                   batch, classes, samples, runs: cost as they grow
uv run scripts/benchmark.py crops <folder of JPEGs>                  a training crop, against Pillow and OpenCV
uv run scripts/benchmark.py feed <folder of classes>                 how many crops threads and workers deliver
uv run scripts/benchmark.py monitor                                  gwa.torch's monitor (needs PyTorch, transformers)
uv run scripts/benchmark.py peers                                    a step in JAX and in PyTorch (needs the same)

Costs are medians over the rounds; a ratio is a way's cost divided by that of the first way in the same round: median
with quartiles. [--rounds=30] [--output=x.json] [--config.field=value ...]
"""

import dataclasses
import importlib
import json
import os
import pathlib

import repository  # noqa: F401  (it puts our packages first on Python's path)

import command_line
from benchmarks.comparison import Options
from errors import UserError
from parallel.allocator import keep_freed_memory

PARTS = ("score", "step", "epoch", "accelerator", "start", "growth", "crops", "feed", "monitor", "peers")


def main() -> None:
    """Prints the comparisons of a part, and writes them as JSON."""
    parser = command_line.Parser(__doc__)
    parser.add_argument("part", help=f"one of {', '.join(PARTS)}")
    parser.add_argument("folder", nargs="?", type=pathlib.Path, help="of images, for crops and feed")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--config", default="configs/cifar10_small.py", help="of step, epoch, accelerator, start")
    parser.add_argument("--against", type=pathlib.Path, help="another checkout, for start")
    parser.add_argument("--output", type=pathlib.Path)
    arguments, overrides = parser.parse_known_args()
    if arguments.part not in PARTS:
        raise UserError(f"there is no part {arguments.part!r}; there are {', '.join(PARTS)}")
    if arguments.rounds < 1:
        raise UserError(f"--rounds is {arguments.rounds}; it must be at least 1")
    keep_freed_memory()  # before JAX is imported, as training does it
    try:
        part = importlib.import_module(f"benchmarks.{arguments.part}")
    except ModuleNotFoundError as error:
        raise UserError(f"{arguments.part} needs the package {error.name}, which is not installed") from error
    cores, load = os.cpu_count(), os.getloadavg()[0]
    options = Options(arguments.rounds, arguments.config, overrides, arguments.folder, arguments.against)
    comparisons = part.measure(options)
    print(f"{arguments.rounds} rounds on {cores} cores, load {load:.1f} before")
    for comparison in comparisons:
        print(*comparison.lines(), sep="\n")
    if arguments.output:
        report = {"rounds": arguments.rounds, "cores": cores, "load_before": load}
        report["comparisons"] = [dataclasses.asdict(comparison) for comparison in comparisons]
        arguments.output.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    command_line.run(main)
