"""Settings that do nothing in a run: because of other settings, or of the size of the run."""

from __future__ import annotations

from typing import Any

import jax

import fields
from configs import base


def find_idle(config: Any, image_shape: tuple[int, ...], steps_per_epoch: int, num_devices: int) -> list[str]:
    """One line for each field that differs from its default and has no effect.

    Args:
      config: of the run.
      image_shape: height, width, channels.
      steps_per_epoch: updates.
      num_devices: of all processes.
    """
    height, width, _ = image_shape
    of_size = {
        "checkpoint_steps": (
            config.checkpoint_steps >= steps_per_epoch,
            f"an epoch has {steps_per_epoch} updates, and at its end there is a checkpoint anyway",
        ),
        "sharding": (config.sharding == "fsdp" and num_devices == 1, "there is one device, which holds everything"),
        "matmul_precision": (jax.default_backend() == "cpu", "a CPU always computes in full float32 precision"),
        "optimizer.ema": (
            0 < config.optimizer.ema * steps_per_epoch < 0.01,
            f"an epoch has {steps_per_epoch} updates, so the average forgets everything within one",
        ),
        "augment.upscale": (config.augment.upscale == height == width, "the images have this size already"),
    }
    return fields.find_idle(config, base.FIELDS) + [
        f"{path}={fields.read(config, path)} has no effect on this run: {reason}"
        for path, (idle, reason) in of_size.items()
        if idle and fields.read(config, path) != fields.read(base.get_config(), path)
    ]
