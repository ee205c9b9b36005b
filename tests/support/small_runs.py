"""Runs on the digits that take seconds, what they leave behind, and how a test cuts one off."""

import contextlib
import json

import numpy as np
import pytest

from configs import digits
from training.run.checkpoints import Checkpoints

UNTIMED = {"seconds": 0, "train_seconds": 0, "feed_seconds": 0, "checkpoint_seconds": 0, "checksum": None}
DIVERGING = {"optimizer.name": "sgd", "optimizer.learning_rate": 1000.0, "optimizer.weight_decay": 1000.0}


def small(epochs=3, **overrides):
    """The digits on a network that compiles fast."""
    config = digits.get_config()
    config.epochs, config.stopping.rules, config.checkpoint_minutes = epochs, ("max_gwa",), 0.0
    config.dataset.train_examples = 300
    config.network.depths, config.network.widths = (1,), (16,)
    config.network.patch_size = 2
    config.update_from_flattened_dict(overrides)
    return config


def files(workdir):
    """The history, the scores and the predictions of a run."""
    history = [json.loads(line) for line in (workdir / "history.jsonl").read_text().splitlines()]
    return history, np.load(workdir / "scores.npy"), np.load(workdir / "predictions.npy")


class CutOff(Exception):
    """Stands for whatever ends a process."""


@contextlib.contextmanager
def cut_off(after):
    """Ends the run within the block where it would save to resume beyond this step; yields the steps of all saves."""
    save, steps = Checkpoints.save_resume, []

    def save_until(self, step, *arguments):
        steps.append(step)
        if step > after:
            raise CutOff
        save(self, step, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "save_resume", save_until)
        with pytest.raises(CutOff):
            yield steps
