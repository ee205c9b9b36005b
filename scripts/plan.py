"""Estimates what a config will cost on accelerators, before anything runs: it needs neither accelerators nor data.

uv run scripts/plan.py configs/imagenet_vit.py --accelerator=h100 [--devices=8] [--config.field=value ...]
uv run --extra cuda scripts/plan.py configs/imagenet_vit.py --accelerator=h100 --compile

Sizes and FLOPs are counted from the config's programs. Memory is estimated from what differentiation keeps, which is
more than a compiler needs; with --compile, XLA compiles the training program for the accelerators, in one to three
minutes, and reports what it needs (h100, h200, a100, a6000 with the extra cuda; tpu_v5e, tpu_v5p with the extra tpu).
Time is the longer of what the arithmetic takes at --utilisation of the peak rate and what activations take to cross the
memory six times at 55 % of its peak rate; --compile counts what crosses it. For the paper's ConvNeXt and ViT on one
H200 that came to 1.03 and 1.22 of the measured images per second.
"""

import pathlib

import jax

import repository  # noqa: F401  (it puts our packages first on Python's path)

import command_line
from errors import UserError
from planning.accelerators import ACCELERATORS
from planning.compilation import compile_train_block
from planning.cost import CROPS_PER_CORE, UTILISATION, find_bandwidth, find_data_set, make_plan
from planning.description import describe
from planning.traffic import count_bytes
from sweeps.definition import Run, Sweep, configure, select
from training.step import build_recipe


def main() -> None:
    """Prints one line per figure."""
    parser = command_line.Parser(__doc__)
    parser.add_argument("config", help="a file of configs/, with :variant where it has variants")
    parser.add_argument("--accelerator", required=True, help=", ".join(ACCELERATORS))
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--classes", type=int, help="of a data set that is not known by name")
    parser.add_argument("--train_examples", type=int, help="of a data set that is not known by name")
    parser.add_argument("--utilisation", type=float, default=UTILISATION, help="share of the peak rate")
    parser.add_argument("--crops_per_core", type=float, default=CROPS_PER_CORE, help="decoded in a second")
    parser.add_argument("--compile", action="store_true", help="the training program, to say what memory it takes")
    arguments, overrides = parser.parse_known_args()
    jax.config.update("jax_platforms", "cpu")  # whatever the machine has, nothing is run on it
    file = arguments.config.partition(":")[0]
    if not pathlib.Path(file).is_file():
        raise UserError(f"there is no config {file}")
    run = Run(arguments.config, {"config": arguments.config})
    config = configure(select(Sweep("plan", (run,)), "*", overrides).runs[0])
    data = find_data_set(config, arguments.classes, arguments.train_examples)
    accelerator, devices, crops = arguments.accelerator, arguments.devices, arguments.crops_per_core
    plan = make_plan(config, data, accelerator, devices, arguments.utilisation, crops)
    figures = describe(config, data, plan, accelerator, devices, crops)
    if arguments.compile:
        recipe = build_recipe(config, data.classes, plan.steps)
        program = compile_train_block(config, recipe, data.image_shape, accelerator, devices)
        memory = ACCELERATORS[accelerator].memory
        figures["memory per device, compiled"] = f"{program.memory / 1e9:.1f} of {memory:g} GB"
        moved = count_bytes(program.text)
        figures["read and written per step, compiled"] = f"{moved / 1e9:.1f} GB per device"
        images_per_second = config.batch_size * find_bandwidth(accelerator) / moved
        figures["images/s by these bytes"] = f"{images_per_second:,.0f} on {devices} × {accelerator}"
    for name, value in figures.items():
        print(f"{name + ':':34} {value}")


if __name__ == "__main__":
    command_line.run(main)
