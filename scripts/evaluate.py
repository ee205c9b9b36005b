"""Evaluates the checkpoints that a finished run's rules keep on a further test set, into its robustness.json.

uv run scripts/evaluate.py runs/x --on=cifar10_c [--path=DIR] [--severities=1,2,3,4,5] [--examples=N]

Corruptions are made from the run's own test images, or read with --path from the folder of CIFAR-10-C or ImageNet-C.
"""

import argparse
import json
import pathlib
import sys
from typing import Any

from ml_collections import ConfigDict

import datasets
from errors import UserError
from training import devices, robustness


def main() -> None:
    """Evaluates and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workdir", type=pathlib.Path)
    parser.add_argument("--on", required=True, help=f"the test set: {' or '.join(robustness.SETS)}")
    parser.add_argument("--path", help="folder of the benchmark's own files; made from the test set by default")
    parser.add_argument("--severities", default="1,2,3,4,5", help="some of 1 to 5, with commas")
    parser.add_argument("--examples", type=int, default=0, help="images per corruption and severity; 0 for all")
    try:
        result = evaluate(parser.parse_args())
    except UserError as error:
        print(f"evaluate.py: {error}", file=sys.stderr)
        sys.exit(2)
    print("\n".join(table(result)))


def evaluate(arguments: argparse.Namespace) -> dict[str, Any]:
    """What `robustness.measure` returns for the run."""
    workdir = arguments.workdir
    if not (workdir / "summary.json").exists():
        raise UserError(f"{workdir} holds no finished run")
    severities = arguments.severities.split(",")
    if not all(severity in ("1", "2", "3", "4", "5") for severity in severities) or len(set(severities)) < len(
        severities
    ):
        raise UserError(f"--severities is {arguments.severities!r}; it must be some of 1,2,3,4,5, none twice")
    config = ConfigDict(json.loads((workdir / "config.json").read_text()))
    rules = json.loads((workdir / "summary.json").read_text())["rules"]
    devices.enable_compilation_cache()
    splits = datasets.build(config.dataset)
    test_set = robustness.open_set(arguments.on, arguments.path, splits)
    return robustness.measure(
        workdir,
        config,
        rules,
        splits,
        arguments.on,
        test_set,
        [int(severity) for severity in severities],
        arguments.examples,
    )


def table(result: dict[str, Any]) -> list[str]:
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
