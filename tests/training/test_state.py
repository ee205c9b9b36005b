"""Runs that begin with the weights of another run: which weights those are, and when they are read."""

import shutil

import jax
import numpy as np
import pytest
from small_runs import cut_off, small

from errors import UserError
from training import loop
from training.run.restoring import load_params

FIRST, OTHER = ("0", "1", "2", "3", "4"), ("5", "6", "7", "8", "9")


@pytest.fixture(scope="module")
def pretraining(tmp_path_factory):
    """A run on five of the digits."""
    workdir = tmp_path_factory.mktemp("runs") / "pretraining"
    loop.train(small(epochs=1, **{"dataset.classes": FIRST, "stopping.rules": ("last",)}), workdir)
    return workdir


def finetuning(weights, **overrides):
    """A run on the other five, which keeps what it starts with: its learning rate is next to 0."""
    fields = {"epochs": 1, "dataset.classes": OTHER, "pretrained": str(weights), "optimizer.learning_rate": 1e-30}
    return small(**fields | overrides)


def test_a_run_begins_with_the_weights_of_another_and_a_new_head(pretraining, tmp_path):
    loop.train(finetuning(pretraining / "checkpoints" / "last" / "1"), tmp_path / "a")
    loop.train(finetuning(pretraining), tmp_path / "b")  # the checkpoint that the run has chosen, the same one
    before = load_params(pretraining / "checkpoints" / "last" / "1")
    for name in ("a", "b"):
        (checkpoint,) = (tmp_path / name / "checkpoints" / "max_gwa").iterdir()
        after = load_params(checkpoint)
        assert not np.array_equal(after["head"].pop("kernel"), before["head"]["kernel"])
        assert after.pop("head")["bias"].shape == (5,)
        jax.tree.map(np.testing.assert_array_equal, after, {key: before[key] for key in before if key != "head"})


def test_the_weights_are_read_at_a_fresh_start_alone(pretraining, tmp_path):
    """A resume goes on from its own checkpoint, even if the weights it began with are gone."""
    weights = tmp_path / "weights"
    shutil.copytree(pretraining, weights)
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    changes = {"epochs": 2, "optimizer.learning_rate": 1e-3, "optimizer.schedule": "constant"}
    config = finetuning(weights, **changes)
    loop.train(config, whole)
    with cut_off(after=5) as steps:
        loop.train(config, halves)
    assert steps == [5, 10]
    shutil.rmtree(weights)
    loop.train(config, halves)
    for name in ("scores.npy", "predictions.npy"):
        np.testing.assert_array_equal(np.load(halves / name), np.load(whole / name))
    with pytest.raises(UserError, match="there is no file and no run"):
        loop.train(config, whole, overwrite=True)
    assert (whole / "summary.json").exists()  # refused before anything is removed


def test_a_run_that_is_not_finished_names_no_weights(pretraining, tmp_path):
    shutil.copytree(pretraining, tmp_path / "copy")
    (tmp_path / "copy" / "summary.json").unlink()
    with pytest.raises(UserError, match=r"copy is not finished"):
        loop.train(finetuning(tmp_path / "copy"), tmp_path / "run")


def test_a_network_that_differs_is_refused(pretraining, tmp_path):
    message = r"of another shape: head/kernel is \(16, 5\) and should be \(8, 5\), .*, stem_norm/scale is"
    with pytest.raises(UserError, match=message) as error:
        loop.train(finetuning(pretraining, **{"network.widths": (8,), "pretrained_head": True}), tmp_path / "run")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["absent.npz", "absent.safetensors", "absent"])
def test_missing_weights_are_named_and_nothing_is_left(name, tmp_path):
    with pytest.raises(UserError, match=str(tmp_path / name)):
        loop.train(finetuning(tmp_path / name), tmp_path / "run")
    assert not (tmp_path / "run").exists()
