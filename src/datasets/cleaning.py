"""Cleans training labels by a file of label issues: drops the flagged samples, or gives them their suggested labels."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import numpy as np

from datasets.label_csv import LabelFile, decode_paths, escape_name, escape_path, read_csv
from errors import UserError


@dataclasses.dataclass(frozen=True)
class Cleaning:
    """What was done to the training labels of a run.

    Attributes:
      file: as the config names it.
      sha256: of its content.
      run: the name of the work directory that it lies in; None if it lies in none.
      clean: drop or relabel.
      flagged: how many samples the file flags.
      changed: how many samples of the training set were dropped, or got another label. Flagged samples that this
        training set lacks do not count, nor those whose suggested label is the one they have.
      kept: the size of the training set after that.
    """

    file: str
    sha256: str
    run: str | None
    clean: str
    flagged: int
    changed: int
    kept: int

    def describe(self) -> str:
        """One line for the start of a run."""
        done = "dropped" if self.clean == "drop" else "relabelled"
        return f"{self.changed} training examples {done} by {self.file} (SHA-256 {self.sha256[:12]}), {self.kept} used"


def clean_training_set(train: Any, source: Any, class_names: tuple[str, ...], config: Any) -> tuple[Any, Cleaning]:
    """The training set without the flagged samples, or with their suggested labels, and what was done.

    Rows are matched by their number in the source. Rows that the file does not list are kept as they are. Rows that it
    lists and that were held out, or are not in the subset trained on, are checked and then left alone.

    Args:
      train: the examples to train on.
      source: all training examples before a subset was drawn, with the labels of the run.
      class_names: one per class.
      config: `config.dataset`, of which `labels` and `clean` are used.

    Raises:
      UserError: the file cannot be read or belongs to another data set, or nothing is left.
    """
    file = read_csv(config.labels)
    _check_belonging(file, source, class_names, config.labels)
    rows = file.rows[file.flagged]
    order = np.argsort(rows)
    rows, labels = rows[order], file.predicted[file.flagged][order]
    concerned = np.isin(train.rows, rows)
    if config.clean == "drop":
        cleaned = train.take(np.flatnonzero(~concerned))
        changed = int(concerned.sum())
    else:
        new = train.labels.copy()
        new[concerned] = labels[np.searchsorted(rows, train.rows[concerned])]
        wrong = np.flatnonzero((new < 0) | (new >= len(class_names)))
        if len(wrong):
            raise UserError(
                f"dataset.labels: {config.labels} suggests the label {new[wrong[0]]} for row {train.rows[wrong[0]]}; "
                f"with dataset.clean=relabel it must lie in [0, {len(class_names)})"
            )
        cleaned, changed = dataclasses.replace(train, labels=new), int(np.sum(new != train.labels))
    if not len(cleaned):
        raise UserError(f"dataset.labels: {config.labels} flags all {len(train)} examples; nothing is left to train on")
    folder = pathlib.Path(config.labels).expanduser().resolve().parent
    run = folder.name if (folder / "config.json").exists() else None
    return cleaned, Cleaning(config.labels, file.sha256, run, config.clean, len(rows), changed, len(cleaned))


def _check_belonging(file: LabelFile, source: Any, class_names: tuple[str, ...], name: str) -> None:
    """Refuses a file whose rows, labels, class names or paths are not those of the data."""
    if len(np.unique(file.rows)) < len(file.rows):
        raise UserError(f"dataset.labels: {name} lists a row twice")
    order = np.argsort(source.rows)
    place = order[np.searchsorted(source.rows, file.rows, sorter=order).clip(max=len(order) - 1)]
    labels = source.labels[place]
    compared = {"row": (file.rows, source.rows[place]), "label": (file.given, labels)}
    if file.given_classes is not None:
        names = np.array([escape_name(text) for text in class_names], object)
        compared["class"] = (file.given_classes, names[labels])
    if file.paths is not None and source.paths is not None:
        paths = np.array([escape_path(text) for text in decode_paths(source.paths[place])], object)
        compared["file"] = (np.where(file.paths == "", paths, file.paths), paths)  # older runs have not kept them
    for what, (theirs, ours) in compared.items():
        different = np.flatnonzero(theirs != ours)
        if len(different):
            i = different[0]
            have = "have no such row" if what == "row" else f"the {what} {ours[i]}"
            raise UserError(
                f"dataset.labels: {name} is not of this training data: for row {file.rows[i]} it has the {what} "
                f"{theirs[i]}, and the data {have}; the fields of dataset must be those of the run that it is made from"
            )
