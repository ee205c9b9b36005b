"""Evaluates the checkpoints that a finished run's rules keep on a further test set.

uv run scripts/evaluate.py runs/x --on=cifar10_c [--path=DIR] [--severities=1,2,3,4,5] [--examples=N]
uv run scripts/evaluate.py runs/x --on=imagenet_v2 --path=DIR

Without --path, corrupted images are made from the run's own test images; with it, the files of CIFAR-10-C or ImageNet-C
are read. Other sets are imagenet_real, a set that tfds has prepared, or a folder of classes, in --path. Accuracies are
printed and added to WORKDIR/evaluations.json.
"""

import argparse
import pathlib
from typing import Any

from ml_collections import ConfigDict

import repository  # noqa: F401  (it puts our packages first on Python's path)

import command_line
import datasets
from errors import UserError
from evaluation.corruptions import GROUPS
from evaluation.evaluate import evaluate_checkpoints
from evaluation.test_sets import CORRUPTED, REAL, open_test_set
from parallel import devices
from training.run.reader import read_run


def main() -> None:
    """Evaluates and prints a table."""
    parser = command_line.Parser(__doc__)
    parser.add_argument("workdir", type=pathlib.Path)
    parser.add_argument("--on", required=True, help=f"{', '.join(CORRUPTED)}, {REAL} or the name of a set in --path")
    parser.add_argument("--path", help="folder of the sets' files")
    parser.add_argument("--severities", help="of corruptions: some of 1 to 5, with commas; all by default")
    parser.add_argument("--examples", type=int, default=0, help="images per corruption and severity; all by default")
    arguments = parser.parse_args()
    print("\n".join(format_table(arguments.on, evaluate(arguments))))


def evaluate(arguments: argparse.Namespace) -> dict[str, Any]:
    """The result on the test set, as evaluations.json has it."""
    run, name, path, levels = read_run(arguments.workdir), arguments.on, arguments.path, arguments.severities
    severities = levels.split(",") if levels is not None else []
    if not set(severities) <= set("12345") or len(set(severities)) < len(severities):
        raise UserError(f"--severities is {levels!r}; it must be some of 1,2,3,4,5, none twice")
    config = ConfigDict(run.config)
    devices.enable_compilation_cache()
    splits = datasets.build(config.dataset)
    path = path if name in CORRUPTED else path or config.evaluate_path
    test_set = open_test_set(name, path, config, splits, [int(level) for level in severities], arguments.examples)
    return evaluate_checkpoints(run.workdir, config, run.summary["rules"], splits, {name: test_set})[name]


def format_table(name: str, result: dict[str, Any]) -> list[str]:
    """Accuracies in %, a line per rule; those of corruptions are means over the corruptions of a group."""
    if "severities" in result:
        frost = ", generated frost" if result["frost"] == "generated" else ""
        severities = ", ".join(map(str, result["severities"]))
        title = f"{name} ({result['source']}{frost}), {result['examples']} images, severity {severities}:"
        columns = ("epoch", "clean", *GROUPS, "  all corruptions")
    else:
        title, columns = f"{name}, {result['examples']} images:", ("epoch", "accuracy")
    lines = [title, f"{'':32}" + "".join(f"{column:>9}" for column in columns)]
    for rule, choice in result["rules"].items():
        values = [choice["epoch"], choice["accuracy"]]
        if "severities" in result:
            groups = [choice["groups"] and choice["groups"][group]["mean"] for group in GROUPS]
            values = [choice["epoch"], choice["clean_accuracy"], *groups, choice["mean"]]
        cells = (f"{format_number(value):>{max(9, len(title))}}" for value, title in zip(values, columns, strict=True))
        lines.append(f"{rule:32}" + "".join(cells))
    return lines


def format_number(value: float | None) -> str:
    """An epoch as it is, a share in %, and a dash for what is missing."""
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{100 * value:.2f}"


if __name__ == "__main__":
    command_line.run(main)
