"""Hand-written work directories with the arrays of their samples, as the page of a run reads them."""

import numpy as np
from finished import write_run

from training.run.reader import upgrade_config

CLASSES = ("cat", "dog", "owl")


def write_recorded(workdir, test=(0.5, 0.7, 0.6, 0.6), wrong=0.2, size=600, classes=CLASSES, config=None, **fields):
    """A run of hand-written records and random arrays, in which a share of the labels pulls the other way.

    Returns which labels are wrong, bool `[N]`.
    """
    rng = np.random.default_rng(0)
    epochs, labels = len(test), rng.integers(0, len(classes), size)
    is_wrong = rng.random(size) < wrong
    settings = upgrade_config({"seed": 0, "epochs": epochs, **(config or {})})
    columns = {"train_accuracy": [0.6] * epochs, "step": [10 * (i + 1) for i in range(epochs)], **fields}
    write_run(workdir, test=list(test), config=settings, **columns)
    clean = np.where(is_wrong, (labels + 1) % len(classes), labels)
    np.savez(workdir / "labels.npz", labels=labels, clean_labels=clean, rows=np.arange(size), class_names=classes)
    alignments = np.where(is_wrong, -0.2, 0.2) + rng.normal(0, 0.05, (epochs, size))
    np.save(workdir / "scores.npy", alignments.astype(np.float32))
    np.save(workdir / "predictions.npy", np.tile(clean, (epochs, 1)).astype(np.int16))
    return is_wrong
