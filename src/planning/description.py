"""A plan in words: what `scripts/plan.py` prints, one figure per line."""

from __future__ import annotations

from typing import Any

import networks
from planning.accelerators import ACCELERATORS
from planning.cost import PUBLISHED, DataSet, Plan, measure_network


def describe(
    config: Any, data: DataSet, plan: Plan, accelerator: str, devices: int, crops_per_core: float
) -> dict[str, str]:
    """The figures of a plan by their names; the arguments are those of `planning.cost.make_plan`."""
    program, size = plan.program, plan.program.size
    figures = {
        "parameters": f"{size.parameters / 1e6:.2f} M",
        "multiply-adds per image, forward": f"{size.multiply_adds / 1e9:.3f} G in products and convolutions",
    }
    if config.network.name in PUBLISHED and data.side == 224:
        figures["published form of this network"] = _compare_with_published(config.network.name)
    return figures | {
        "FLOPs per image, forward": f"{program.forward_flops / 1e9:.2f} G (2 per multiply-add, and all else)",
        "FLOPs per image, training step": f"{program.train_flops / 1e9:.2f} G",
        "steps": f"{plan.steps:,} of {config.batch_size} images, {plan.batch_per_device} per device",
        "memory per device, estimated": (
            f"{plan.memory / 1e9:.1f} of {ACCELERATORS[accelerator].memory:g} GB (parameters and gradients "
            f"{2 * program.parameter_bytes / 1e9:.2f}, optimiser {program.optimizer_bytes / 1e9:.2f}, activations "
            f"{program.activation_bytes / 1e6:.0f} MB per image)"
        ),
        "images/s to keep devices busy": (
            f"{plan.images_per_second:,.0f} on {devices} × {accelerator}, limited by {plan.limit}"
        ),
        "cores that decode as many": f"{plan.decoding_cores:.1f} at {crops_per_core:g} crops/s each",
        "days, estimated": f"{plan.days:.3f} ({24 * plan.days:.1f} hours) for {config.epochs} epochs, training alone",
    }


def _compare_with_published(name: str) -> str:
    """Our counts of a network in its published form, beside the published ones."""
    size = measure_network(networks.build({"name": name}, 1000), (224, 224, 3))
    counts = zip((size.parameters, size.multiply_adds), PUBLISHED[name], strict=True)
    parameters, multiply_adds = ((ours, theirs, f"{100 * (ours / theirs - 1):+.1f} %") for ours, theirs in counts)
    return (
        f"{parameters[0] / 1e6:.2f} M ({parameters[1] / 1e6:g} M published, {parameters[2]}), "
        f"{multiply_adds[0] / 1e9:.3f} G ({multiply_adds[1] / 1e9:g} G published, {multiply_adds[2]})"
    )
