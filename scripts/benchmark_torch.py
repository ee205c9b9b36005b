"""Measures what gwa.torch.AlignmentMonitor costs: training steps with and without it, in alternating pairs.

uv run --with torch --with transformers scripts/benchmark_torch.py [--pairs=30] [--threads=2]

It prints the ratio of their times. On a machine that others use too, look at CPU time on one thread.
"""

import argparse
import copy
import time

import numpy as np
import torch
from torch import nn
from transformers import ConvNextV2Config, ConvNextV2ForImageClassification, ViTConfig, ViTForImageClassification

import repository  # noqa: F401  (it puts our packages first on Python's path)

from gwa.torch import AlignmentMonitor

IMAGE, CLASSES = 32, 10
SIZES = {"image_size": IMAGE, "num_labels": CLASSES}


def models() -> dict[str, nn.Module]:
    """Builds a small ConvNeXt V2 and a small ViT for images of 32×32 pixels."""
    convnext = ConvNextV2Config(**SIZES, patch_size=2, depths=[2, 2, 2, 2], hidden_sizes=[32, 64, 128, 256])
    vit = ViTConfig(
        **SIZES,
        patch_size=4,
        hidden_size=128,
        num_hidden_layers=6,
        num_attention_heads=4,
        intermediate_size=512,
    )
    return {"ConvNeXt V2": ConvNextV2ForImageClassification(convnext), "ViT": ViTForImageClassification(vit)}


def main() -> None:
    """Prints the ratios for each network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    images = torch.randn(arguments.batch_size, 3, IMAGE, IMAGE)
    labels = torch.randint(0, CLASSES, (arguments.batch_size,))
    index = torch.arange(arguments.batch_size)
    for name, model in models().items():
        model.train()
        watched = copy.deepcopy(model)
        monitor = AlignmentMonitor(watched, "classifier", num_examples=arguments.batch_size)
        plain = Steps(model, images, labels, None, index)
        monitored = Steps(watched, images, labels, monitor, index)
        times = []  # [pairs, without and with, wall and CPU]
        for pair in range(arguments.pairs + 3):
            first, second = (plain, monitored) if pair % 2 else (monitored, plain)
            seconds = {steps: steps.seconds() for steps in (first, second)}
            times.append((seconds[plain], seconds[monitored]))
        times = np.array(times[3:])
        milliseconds = 1000 * np.median(times[:, 0], axis=0)
        print(f"{name}: {arguments.pairs} pairs of {arguments.batch_size} images on {arguments.threads} threads")
        for column, clock in enumerate(("wall", "CPU")):
            low, median, high = np.quantile(times[:, 1, column] / times[:, 0, column], [0.25, 0.5, 0.75])
            print(f"  {clock} time {median:.4f} (quartiles {low:.4f} to {high:.4f}) of {milliseconds[column]:.0f} ms")


class Steps:
    """Training steps of one model, on the same batch."""

    def __init__(self, model, images, labels, monitor, index):
        self.model, self.images, self.labels, self.monitor, self.index = model, images, labels, monitor, index
        self.optimizer = torch.optim.AdamW(model.parameters(), 1e-4)

    def seconds(self) -> tuple[float, float]:
        """Runs one step, with the update of the monitor; returns its wall time and its CPU time."""
        started = time.perf_counter(), time.process_time()
        logits = self.model(self.images).logits
        nn.functional.cross_entropy(logits, self.labels).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.monitor is not None:
            self.monitor.update(self.labels, self.index)
        return time.perf_counter() - started[0], time.process_time() - started[1]


if __name__ == "__main__":
    main()
