"""The trained network of a finished run: the parameters that a rule has chosen, and how it sees pictures."""

from __future__ import annotations

import pathlib

from ml_collections import ConfigDict

import datasets
import networks
from errors import UserError
from networks.exported import Spec, TrainedNetwork
from training.run.reader import FinishedRun, read_run
from training.run.restoring import load_params

_NORMALIZATION = {"divide_by": 127.5, "add": -1.0}  # what datasets.feeds.augment.normalize does


def load_trained(workdir: str | pathlib.Path, rule: str | None = None, averaged: bool = False) -> TrainedNetwork:
    """The network of a finished run.

    Args:
      workdir: of the run.
      rule: whose checkpoint; None for the first one, which chose for the run.
      averaged: take the moving average of the parameters.

    Raises:
      UserError: when the run is not finished, or has no such rule, checkpoint or average; or its data are missing, and
        it is so old that its summary does not tell the shape of its images.
    """
    workdir = pathlib.Path(workdir)
    run = read_run(workdir)
    rule = rule or run.summary["chosen_by"]
    if rule not in run.summary["rules"]:
        raise UserError(f"--rule is {rule!r}; the rules of {workdir} are {', '.join(run.summary['rules'])}")
    choice = run.summary["rules"][rule]
    if choice["epoch"] is None:
        raise UserError(f"{workdir}: the rule {rule} has kept no epoch; --rule names another one, such as last")
    if averaged and not run.config["optimizer"]["ema"]:
        raise UserError(f"--ema: {workdir} keeps no averaged parameters, as its optimizer.ema is 0")
    checkpoint = workdir / choice["checkpoint"]
    class_names = run.load_class_names()
    spec = Spec(
        network={name: value for name, value in run.config["network"].items() if value not in (None, {})},
        class_names=class_names,
        image_shape=_find_image_shape(run),
        resize=run.config["dataset"]["stream"]["resize"] if run.config["dataset"]["feed"] == "stream" else None,
        normalization=_NORMALIZATION,
        run=run.name,
        rule=rule,
        epoch=choice["epoch"],
        averaged=averaged,
    )
    params = load_params(checkpoint / "ema" if averaged else checkpoint)
    return TrainedNetwork(networks.build(spec.network, len(class_names)), params, spec)


def _find_image_shape(run: FinishedRun) -> tuple[int, ...]:
    """From the summary or, where an older run's lacks it, from the data."""
    if "image_shape" in run.summary:
        return tuple(run.summary["image_shape"])
    return datasets.build(ConfigDict(run.config).dataset).train.image_shape
