"""Times what the score costs on this machine, in alternating rounds.

uv run scripts/benchmark.py score [--rounds=30] [--output=benchmark.json]
uv run scripts/benchmark.py step --config=configs/cifar10_small.py [--config.field=value ...]

`score` compares three ways to compute the alignments of a batch: our closed form, the formula as it reads, and
automatic differentiation. `step` compares a training step without the score, with it, and with dissent beside it, on
random images of the size of the config's data set. Times are medians with quartiles; ratios are taken within a round.
"""

import json
import os
import pathlib

import jax

import repository  # noqa: F401  (it puts our packages first on Python's path)

import command_line
from errors import UserError
from planning.cost import find_data_set
from planning.timing import SCORE_SHAPES, build_score_programs, build_step_programs, compare
from sweeps.definition import Run, Sweep, configure, select

PARTS = ("score", "step")


def main() -> None:
    """Prints a table, and writes the same as JSON."""
    parser = command_line.Parser(__doc__)
    parser.add_argument("part", help=" or ".join(PARTS))
    parser.add_argument("--config", default="configs/cifar10_small.py", help="of the step, with :variant")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--output", type=pathlib.Path)
    arguments, overrides = parser.parse_known_args()
    if arguments.part not in PARTS:
        raise UserError(f"there is no part {arguments.part!r}; there are {', '.join(PARTS)}")
    if arguments.rounds < 1:
        raise UserError(f"--rounds is {arguments.rounds}; it must be at least 1")
    load = os.getloadavg()[0]
    report = time_score(arguments.rounds) if arguments.part == "score" else time_step(arguments, overrides)
    report |= {"device": jax.devices()[0].device_kind, "cores": os.cpu_count(), "load_before": load}
    print(f"{arguments.rounds} rounds on {report['device']}, {report['cores']} cores, load {load:.1f} before")
    for comparison in report["comparisons"]:
        print(comparison["name"])
        for name, figures in comparison["programs"].items():
            (_, median, _), (low, ratio, high) = figures["milliseconds"], figures["ratio"]
            print(f"  {name:26} {median:9.3f} ms  ratio {ratio:.3f} [{low:.3f}, {high:.3f}]")
    if arguments.output:
        arguments.output.write_text(json.dumps(report, indent=2) + "\n")


def time_score(rounds: int) -> dict:
    """The comparisons of the score alone."""
    names = (
        f"{samples} samples, {features} features, {classes} classes" for samples, features, classes in SCORE_SHAPES
    )
    programs = (compare(build_score_programs(*shape), rounds) for shape in SCORE_SHAPES)
    return {"comparisons": [{"name": name, "programs": part} for name, part in zip(names, programs, strict=True)]}


def time_step(arguments, overrides: list[str]) -> dict:
    """The comparison of training steps."""
    if not pathlib.Path(arguments.config.partition(":")[0]).is_file():
        raise UserError(f"there is no config {arguments.config}")
    run = Run(arguments.config, {"config": arguments.config})
    config = configure(select(Sweep("benchmark", (run,)), "*", overrides).runs[0])
    programs, counts = build_step_programs(config, find_data_set(config, None, None))
    figures = compare(programs, arguments.rounds)
    return {"comparisons": [{"name": f"a step of {arguments.config}", "programs": figures, "counts": counts}]}


if __name__ == "__main__":
    command_line.run(main)
