"""What networks say of training samples that they have not seen: a finished run, trained again without each fold.

cleanlab's confident learning (Northcutt et al. 2021) needs such probabilities. They cost one training per fold, which
the alignments of a single run do not.
"""

from __future__ import annotations

import pathlib
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

import datasets
from datasets import Examples
from datasets.label_csv import write_csv
from errors import UserError
from evaluation.estimates import check_data
from evaluation.predict import BATCH_SIZE
from evaluation.trained import load_trained
from gwa import Last
from networks.exported import TrainedNetwork
from reports.label_table import tabulate_label_issues
from training.loop import train
from training.run.durable import sync_tree, write_json
from training.run.reader import FinishedRun, load_array, read_config, read_derived
from training.run.workdir import find_summary

FOLDER = "cross_validation"
PROBABILITIES, RESULT = f"{FOLDER}/probabilities.npy", f"{FOLDER}/result.json"


def cross_validate(run: FinishedRun, folds: int) -> dict[str, Any]:
    """Trains the run again without each fold, and writes what the networks say of the samples that they have not seen.

    Folds that are finished are not trained again. The last epoch counts. Writes, under `cross_validation` in the work
    directory, `probabilities.npy`, float32 `[N, classes]` by row, and what this returns as `result.json`.

    Args:
      run: with its data in memory.
      folds: how many; each holds about the same share of every class.

    Returns:
      `folds`, and `seconds`, how long all of them have trained.

    Raises:
      UserError: when the run is streamed or was trained on cleaned labels, its data have changed since, or there are
        fewer than two folds or more than samples of the largest class.
    """
    from sklearn.model_selection import StratifiedKFold

    config = read_config(run.workdir)
    if config.dataset.labels is not None:
        raise UserError(f"{run.workdir} was trained on cleaned labels; cross-validation needs a run on all of them")
    splits = datasets.build(config.dataset)
    if not isinstance(splits.train, Examples):
        raise UserError(f"the training data of {run.workdir} are streamed; folds need dataset.feed=resident")
    check_data(run.workdir, splits.train)
    largest = int(np.bincount(splits.train.labels).max())
    if not 2 <= folds <= largest:
        raise UserError(f"--folds is {folds}; it must be 2 to {largest}, the size of the largest class")
    (run.workdir / FOLDER).mkdir(exist_ok=True)
    columns = tabulate_label_issues(run.workdir).columns
    probabilities = np.zeros((len(splits.train), len(splits.class_names)), np.float32)
    parts = StratifiedKFold(folds, shuffle=True, random_state=config.seed).split(columns["row"], splits.train.labels)
    seconds = 0.0
    for fold, (_, held_out) in enumerate(parts, start=1):
        name = f"{FOLDER}/fold{fold}_of_{folds}"  # other folds are other runs
        flagged = np.zeros(len(splits.train), bool)
        flagged[held_out] = True
        write_csv(run.workdir / f"{name}.csv", {**columns, "is_label_issue": flagged})
        without, workdir = _configure(config, run.workdir / f"{name}.csv"), run.workdir / name
        summary = find_summary(workdir, without, overwrite=False) or train(without, workdir)
        seconds += summary["seconds"]
        probabilities[held_out] = classify(load_trained(workdir), splits.train.images[held_out])
    np.save(run.workdir / PROBABILITIES, probabilities)
    sync_tree(run.workdir / FOLDER)
    result = {"folds": folds, "seconds": seconds}
    write_json(run.workdir / RESULT, result)
    return result


def read_probabilities(run: FinishedRun) -> np.ndarray | None:
    """What `cross_validate` has written, float32 `[N, classes]`; None where it has not run to its end.

    Raises:
      UserError: when the file is damaged.
    """
    if read_derived(run.workdir, RESULT) is None:
        return None
    return load_array(run.workdir, PROBABILITIES)


def classify(network: TrainedNetwork, images: np.ndarray) -> np.ndarray:
    """Probabilities, float32 `[N, classes]`, of uint8 images `[N, height, width, channels]`."""
    compute = jax.jit(lambda params, images: jax.nn.softmax(network._replace(params=params).logits(images)))
    size, probabilities = min(BATCH_SIZE, len(images)), []
    for start in range(0, len(images), size):
        batch = images[start : start + size]
        filled = np.concatenate([batch, np.zeros((size - len(batch), *batch.shape[1:]), np.uint8)])
        probabilities.append(np.asarray(compute(network.params, filled))[: len(batch)])
    return np.concatenate(probabilities)


def _configure(config: ConfigDict, dropped: pathlib.Path) -> ConfigDict:
    """The config of a training without what a file flags, and without all that only rules, pages and tests read."""
    config = config.copy_and_resolve_references()
    config.dataset.labels, config.dataset.clean = str(dropped), "drop"
    config.stopping.rules, config.stopping.patience = (Last.name,), 0
    config.estimators, config.record, config.evaluate = (), (), ()
    config.report, config.wandb.mode = False, "disabled"
    return config
