"""Evaluates the checkpoints that a finished run's rules keep on a further test set.

uv run scripts/evaluate.py runs/x --on=cifar10_c [--path=DIR] [--severities=1,2,3,4,5] [--examples=N]
uv run scripts/evaluate.py runs/x --on=imagenet_v2 --path=DIR

Corruptions, into robustness.json, are made from the run's own test images, or read with --path from the folder of
CIFAR-10-C or ImageNet-C. Other sets, into external.json: imagenet_real, or a folder of classes in --path.
"""

import argparse
import json
import pathlib
import sys
from typing import Any

from ml_collections import ConfigDict

import repository  # noqa: F401  (it puts our packages first on Python's path)

import datasets
from errors import UserError
from evaluation import external, robustness
from parallel import devices


def main() -> None:
    """Evaluates and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workdir", type=pathlib.Path)
    parser.add_argument(
        "--on", required=True, help=f"{', '.join(robustness.SETS)}, imagenet_real or a folder in --path"
    )
    parser.add_argument("--path", help="folder of the sets' own files; corruptions can do without")
    parser.add_argument("--severities", help="of corruptions: some of 1 to 5, with commas; all by default")
    parser.add_argument("--examples", type=int, default=0, help="images per corruption and severity; all by default")
    try:
        result = evaluate(parser.parse_args())
    except UserError as error:
        print(f"evaluate.py: {error}", file=sys.stderr)
        sys.exit(2)
    print("\n".join(result))


def evaluate(arguments: argparse.Namespace) -> list[str]:
    """The table's lines."""
    workdir = arguments.workdir
    if not (workdir / "summary.json").exists():
        raise UserError(f"{workdir} holds no finished run")
    severities = (arguments.severities or "1,2,3,4,5").split(",")
    if not all(severity in ("1", "2", "3", "4", "5") for severity in severities) or len(set(severities)) < len(
        severities
    ):
        raise UserError(f"--severities is {arguments.severities!r}; it must be some of 1,2,3,4,5, none twice")
    config = ConfigDict(json.loads((workdir / "config.json").read_text()))
    rules = json.loads((workdir / "summary.json").read_text())["rules"]
    devices.enable_compilation_cache()
    splits = datasets.build(config.dataset)
    name, path = arguments.on, arguments.path
    if name in robustness.SETS:
        corrupted = robustness.open_set(name, path, config, splits)
        levels = [int(severity) for severity in severities]
        return corruption_table(
            robustness.measure(workdir, config, rules, splits, name, corrupted, levels, arguments.examples)
        )
    if arguments.severities or arguments.examples:
        raise UserError(f"--severities and --examples are for corruptions; {name} is evaluated whole")
    test_set = external.open_set(name, path or config.evaluate_path, config, splits)
    return table(name, external.measure(workdir, config, rules, splits, name, test_set))


def table(name: str, result: dict[str, Any]) -> list[str]:
    """Accuracies in % by rule."""
    lines = [f"{name}, {result['examples']} images:", f"{'':32}{'epoch':>9}{'accuracy':>9}"]
    for rule, choice in result["rules"].items():
        lines.append(f"{rule:32}{_cell(choice['epoch']):>9}{_cell(choice['accuracy']):>9}")
    return lines


def corruption_table(result: dict[str, Any]) -> list[str]:
    """Accuracies in %, rules by groups; each is a mean over corruptions and severities."""
    columns = ("epoch", "clean", *robustness.GROUPS, "all corruptions")
    frost = ", generated frost" if result["frost"] == "generated" else ""
    severities = ", ".join(map(str, result["severities"]))
    lines = [
        f"{result['set']} ({result['source']}{frost}), {result['examples']} images, severity {severities}:",
        f"{'':32}" + "".join(f"{column:>9}" for column in columns[:-1]) + f"{columns[-1]:>17}",
    ]
    for name, rule in result["rules"].items():
        groups = [rule["groups"] and rule["groups"][group]["mean"] for group in robustness.GROUPS]
        cells = [_cell(value) for value in (rule["epoch"], rule["clean_accuracy"], *groups)]
        lines.append(f"{name:32}" + "".join(f"{cell:>9}" for cell in cells) + f"{_cell(rule['mean']):>17}")
    return lines


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{100 * value:.2f}"


if __name__ == "__main__":
    main()
