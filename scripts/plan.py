"""Says what a config will cost on accelerators, before anything runs: no accelerator and no data are needed.

uv run scripts/plan.py configs/imagenet_vit.py --accelerator=h100 [--devices=8] [--config.field=value ...]
uv run --extra cuda scripts/plan.py configs/imagenet_vit.py --accelerator=h100 --compile

Sizes and FLOPs are counted from the config's programs. Memory is estimated from what differentiation keeps, which is
more than a compiler needs; --compile has XLA compile the training program for the accelerators, in one to three
minutes, and says what that takes (h100, h200, a100, a6000 with the extra cuda; tpu_v5e, tpu_v5p with the extra tpu).
Time is the longer of what the arithmetic takes at --utilisation of the peak rate and what activations take to cross the
memory four times; with --crops_per_core it is an assumption until you have measured yours.
"""

import argparse
import pathlib
import sys

import jax
from ml_collections import ConfigDict

import repository  # noqa: F401  (it puts our packages first on Python's path)

import networks
from errors import UserError
from planning import cost
from planning.accelerators import ACCELERATORS
from planning.compilation import compile_train_block
from sweeps.definition import Run, Sweep, configuration, select
from training.step import build_recipe


def main() -> None:
    """Prints one line per figure; a mistake of the user's is one line and exit code 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="a file of configs/, with :variant where it has variants")
    parser.add_argument("--accelerator", required=True, help=", ".join(ACCELERATORS))
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--classes", type=int, help="of a data set that is not known by name")
    parser.add_argument("--train_examples", type=int, help="of a data set that is not known by name")
    parser.add_argument("--utilisation", type=float, default=cost.UTILISATION, help="share of the peak rate")
    parser.add_argument("--crops_per_core", type=float, default=cost.CROPS_PER_CORE, help="decoded in a second")
    parser.add_argument("--compile", action="store_true", help="the training program, to say what memory it takes")
    arguments, overrides = parser.parse_known_args()
    jax.config.update("jax_platforms", "cpu")  # whatever the machine has, nothing is run on it
    try:
        if not pathlib.Path(arguments.config.partition(":")[0]).is_file():
            raise UserError(f"there is no config {arguments.config.partition(':')[0]}")
        run = Run(arguments.config, {"config": arguments.config})
        config = configuration(select(Sweep("plan", (run,)), "*", overrides).runs[0])
        data = cost.data_set(config, arguments.classes, arguments.train_examples)
        plan = cost.plan(
            config,
            data,
            arguments.accelerator,
            arguments.devices,
            arguments.utilisation,
            arguments.crops_per_core,
        )
        figures = describe(config, data, plan, arguments)
        if arguments.compile:
            recipe = build_recipe(config, data.classes, plan.steps)
            program = compile_train_block(config, recipe, data.image_shape, arguments.accelerator, arguments.devices)
            memory = ACCELERATORS[arguments.accelerator].memory
            figures["memory per device, compiled"] = f"{program.memory / 1e9:.1f} of {memory:g} GB"
    except UserError as error:
        print(f"plan.py: {error}", file=sys.stderr)
        sys.exit(2)
    for name, value in figures.items():
        print(f"{name + ':':34} {value}")


def describe(config: ConfigDict, data: cost.DataSet, plan: cost.Plan, arguments: argparse.Namespace) -> dict[str, str]:
    """The figures by what they are called."""
    program, size = plan.program, plan.program.size
    accelerator = ACCELERATORS[arguments.accelerator]
    figures = {"parameters": f"{size.parameters / 1e6:.2f} M"}
    figures["multiply-adds per image, forward"] = f"{size.multiply_adds / 1e9:.3f} G in products and convolutions"
    if config.network.name in cost.PUBLISHED and data.side == 224:
        figures["published form of this network"] = compare(config.network.name)
    return figures | {
        "FLOPs per image, forward": f"{program.forward_flops / 1e9:.2f} G (2 per multiply-add, and all else)",
        "FLOPs per image, training step": f"{program.train_flops / 1e9:.2f} G",
        "steps": f"{plan.steps:,} of {config.batch_size} images, {plan.batch_per_device} per device",
        "memory per device, estimated": (
            f"{plan.memory / 1e9:.1f} of {accelerator.memory:g} GB (parameters and gradients "
            f"{2 * program.parameter_bytes / 1e9:.2f}, optimiser {program.optimizer_bytes / 1e9:.2f}, activations "
            f"{program.activation_bytes / 1e6:.0f} MB per image)"
        ),
        "images/s to keep devices busy": (
            f"{plan.images_per_second:,.0f} on {arguments.devices} × {arguments.accelerator}, limited by {plan.limit}"
        ),
        "cores that decode as many": f"{plan.decoding_cores:.1f} at {arguments.crops_per_core:g} crops/s each",
        "days, estimated": f"{plan.days:.3f} ({24 * plan.days:.1f} hours) for {config.epochs} epochs, training alone",
    }


def compare(name: str) -> str:
    """Our counts of a network as it is published, beside the published ones."""
    size = cost.measure(networks.build({"name": name}, 1000), (224, 224, 3))
    ours, published = (size.parameters, size.multiply_adds), cost.PUBLISHED[name]
    shares = [f"{100 * (count / paper - 1):+.1f} %" for count, paper in zip(ours, published, strict=True)]
    return (
        f"{ours[0] / 1e6:.2f} M ({published[0] / 1e6:g} M published, {shares[0]}), "
        f"{ours[1] / 1e9:.3f} G ({published[1] / 1e9:g} G published, {shares[1]})"
    )


if __name__ == "__main__":
    main()
