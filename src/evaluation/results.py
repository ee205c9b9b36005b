"""What evaluations have left in a work directory. Tables read it too, so nothing heavy is imported here.

evaluations.json holds, by test set, the accuracy of the checkpoint of every rule:

{"imagenet_v2": {"examples": 10000, "seconds": 41.5, "rules": {"max_gwa": {"epoch": 85, "accuracy": 0.61}}},
 "cifar10_c": {"source": "generated", "frost": "generated", "examples": 10000, "severities": [1, 2, 3, 4, 5], ...,
               "rules": {"max_gwa": {"epoch": 85, "clean_accuracy": 0.93, "accuracy": {"fog": {"1": 0.92, ...}, ...},
                                     "groups": {"noise": {"1": 0.8, ..., "mean": 0.6}, ...}, "mean": 0.7}}}}
"""

from __future__ import annotations

import pathlib
from typing import Any

from errors import UserError
from training.run.reader import read_derived

FILE = "evaluations.json"


def read_evaluations(workdir: pathlib.Path) -> dict[str, dict[str, Any]]:
    """By test set, what has been measured on it; from robustness.json and external.json too, which older runs have.

    Raises:
      UserError: when a file is half-written or malformed.
    """
    corrupted, external, evaluations = (
        read_derived(workdir, name) or {} for name in ("robustness.json", "external.json", FILE)
    )
    evaluations = external | evaluations
    if not corrupted:
        return evaluations
    if not isinstance(name := corrupted.pop("set", None), str):
        raise UserError(f"{workdir / 'robustness.json'} lacks the field set")
    return {name: corrupted} | evaluations


def read_accuracy(
    workdir: pathlib.Path, test_set: str, rule: str, group: str | None = None, severity: str = "mean"
) -> float | None:
    """Accuracy, as a share, of what a rule chose on a test set; None where it has not been evaluated.

    Args:
      workdir: of a run.
      test_set: such as `imagenet_v2` or `cifar10_c`.
      rule: whose checkpoint.
      group: of corruptions, in a set that has some: `blur`, `digital`, `noise` or `weather`.
      severity: of corruptions: `1` to `5`, or `mean` over all five.

    Raises:
      UserError: when a file is half-written or malformed.
    """
    evaluation = read_evaluations(workdir).get(test_set)
    if evaluation is None:
        return None
    try:
        choice = evaluation["rules"].get(rule)
        incomplete = group and severity == "mean" and evaluation["severities"] != [1, 2, 3, 4, 5]
        if not choice or choice["epoch"] is None or incomplete:
            return None
        accuracy = choice["groups"][group].get(severity) if group else choice["accuracy"]
        return None if accuracy is None else float(accuracy)
    except (KeyError, TypeError, AttributeError):
        where = f" on {group}" if group else ""
        raise UserError(f"{workdir}: its evaluation on {test_set} lacks the accuracy of {rule}{where}") from None
