"""Writes the network of a finished run into a folder of its own, to be used without the run and its data.

uv run scripts/export.py runs/x [--output=DIR] [--rule=last] [--ema] [--stablehlo]

The folder holds model.safetensors and config.json, which `networks.exported.load_exported` and
`--config.pretrained=DIR` read. With --stablehlo there is model.stablehlo too: the whole program from uint8 pixels
[B, height, width, channels] to float32 logits, for CPUs, NVIDIA GPUs and TPUs, which `jax.export.deserialize` reads.
"""

import pathlib

import repository  # noqa: F401  (it puts our packages first on Python's path)

import command_line
from evaluation.trained import load_trained
from networks.exported import export


def main() -> None:
    """Writes the folder and says what it holds."""
    parser = command_line.Parser(__doc__)
    parser.add_argument("workdir", type=pathlib.Path)
    parser.add_argument("--output", type=pathlib.Path, help="a new folder; WORKDIR/exported by default")
    parser.add_argument("--rule", help="whose checkpoint; the first rule of the run by default")
    parser.add_argument("--ema", action="store_true", help="the averaged parameters")
    parser.add_argument("--stablehlo", action="store_true", help="the program too, as model.stablehlo")
    arguments = parser.parse_args()
    folder = arguments.output or arguments.workdir / "exported"
    network = load_trained(arguments.workdir, arguments.rule, arguments.ema)
    export(network, folder, program=arguments.stablehlo)
    print(f"{folder}: {network.spec.network['name']}, epoch {network.spec.epoch}, chosen by {network.spec.rule}")


if __name__ == "__main__":
    command_line.run(main)
