"""The moving average of the parameters: what it is, where it is kept, and that a run without it is as it was."""

import jax
import numpy as np
import pytest
from small_runs import cut_off, files, small

from training import loop
from training.run.checkpoints import Checkpoints
from training.run.restoring import load_params
from training.step import build_recipe


def test_decay_is_given_in_epochs():
    """After so many epochs, the share e⁻¹ of the old average is left."""
    recipe = build_recipe(small(epochs=3, **{"optimizer.ema": 2.0}), num_classes=10, total_steps=15)
    assert recipe.ema_decay**10 == pytest.approx(np.exp(-1))
    assert build_recipe(small(), 10, 15).ema_decay == 0


def test_the_average_is_that_of_the_parameters_after_each_step(tmp_path, monkeypatch):
    """One step per dispatch, whose states are recorded; the average is made again in float64."""
    config = small(epochs=2, **{"optimizer.ema": 1.0, "steps_per_dispatch": 1, "stopping.rules": ("last",)})
    states = []
    save = Checkpoints.save_resume
    config.checkpoint_steps = 1

    def record(self, step, state, *started):
        states.append(jax.device_get((state.params["head"]["kernel"], state.ema["head"]["kernel"])))
        save(self, step, state, *started)

    monkeypatch.setattr(Checkpoints, "save_resume", record)
    loop.train(config, tmp_path / "run")
    steps = len(states) // 2
    average = states[0][1].astype(np.float64)
    for step, (params, ema) in enumerate(states[1:], start=1):
        decay = min(np.exp(-1 / steps), (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * params
        np.testing.assert_allclose(ema, average, atol=1e-6)
    kept = load_params(tmp_path / "run" / "checkpoints" / "last" / "2" / "ema")
    np.testing.assert_array_equal(kept["head"]["kernel"], states[-1][1])
    np.testing.assert_array_equal(
        load_params(tmp_path / "run" / "checkpoints" / "last" / "2")["head"]["kernel"], states[-1][0]
    )


def test_scores_are_those_of_a_run_without_it_and_a_cut_changes_nothing(tmp_path):
    options = {"stopping.rules": ("max_gwa",), "dataset.val_fraction": 0.1}
    loop.train(small(**options), tmp_path / "without")
    options["optimizer.ema"] = 0.5
    summary = loop.train(small(**options), tmp_path / "with")
    (without, scores, _), (history, same, _) = files(tmp_path / "without"), files(tmp_path / "with")
    np.testing.assert_allclose(same, scores, atol=1e-6)
    assert not any(name.startswith("ema") for name in without[-1])
    for record in history:
        assert record["ema_test_loss"] != record["test_loss"]
        assert 0 < record["ema_val_accuracy"] <= 1
    chosen = summary["rules"]["max_gwa"]
    assert chosen["ema_test_accuracy"] == history[chosen["epoch"] - 1]["ema_test_accuracy"]
    with cut_off(after=10):
        loop.train(small(**options), tmp_path / "cut")
    loop.train(small(**options), tmp_path / "cut")
    fields = ("ema_test_loss", "ema_test_accuracy", "ema_val_loss")
    assert [[r[f] for f in fields] for r in files(tmp_path / "cut")[0]] == [[r[f] for f in fields] for r in history]
