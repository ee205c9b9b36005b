"""Whole runs on the digits: what they leave behind, and that stopping, resuming and devices do not change it."""

import json
import os
import pathlib
import subprocess
import sys
import time

import jax
import numpy as np
import optax
import pytest
import scipy.stats
from small_runs import DIVERGING, UNTIMED, CutOff, cut_off, files, small

import networks
from datasets.arrays import load_digits
from datasets.feeds.augment import normalize
from errors import UserError
from gwa import Moments, gwa_score
from training import loop
from training.run import checkpoints, workdir
from training.run.restoring import load_params
from training.run.tracking import Tracking

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One run that the tests below look at."""
    directory = tmp_path_factory.mktemp("runs") / "digits"
    rules = ("max_gwa", "best_validation", "last", "gradient_disparity", "lowest_sharpness")
    config = small(
        epochs=4,
        **{"dataset.val_fraction": 0.1, "stopping.rules": rules, "stopping.gradient_disparity.batches": 3},
        **{"estimators": ("textbook",)},
    )
    return directory, config, loop.train(config, directory)


def test_the_record_is_computed_from_the_scores(run):
    directory, config, _ = run
    history, scores, predictions = files(directory)
    labels = np.load(directory / "labels.npz")
    assert scores.shape == predictions.shape == (4, 270)
    assert scores.dtype == np.float32
    assert [record["epoch"] for record in history] == [1, 2, 3, 4]
    assert [record["progress"] for record in history] == [0.25, 0.5, 0.75, 1.0]
    assert [record["step"] for record in history] == [5, 10, 15, 20]
    for record, row, predicted in zip(history, scores, predictions, strict=True):
        row = row.astype(float)
        assert record["gwa"] == pytest.approx(row.mean() / (scipy.stats.kurtosis(row) + 1.2), rel=1e-9)
        assert record["gwa"] == pytest.approx(float(gwa_score(Moments.of(row))), rel=1e-5)
        assert record["alignment_mean"] == pytest.approx(row.mean(), rel=1e-12)
        assert record["train_accuracy"] == pytest.approx(np.mean(predicted == labels["labels"]))
    changes = [record["prediction_changes"] for record in history]
    assert changes == [None, *(int(n) for n in np.sum(predictions[1:] != predictions[:-1], axis=1))]
    last_step = 4 * 5 - 1
    expected = optax.cosine_decay_schedule(config.optimizer.learning_rate, 20)(last_step)
    assert history[-1]["learning_rate"] == pytest.approx(float(expected))


def test_clean_labels_of_held_out_data_change_only_what_is_validated(run, tmp_path):
    directory, config, _ = run
    clean = config.copy_and_resolve_references()
    clean.dataset.val_labels = "clean"
    loop.train(clean, tmp_path / "clean")
    (noisy_history, *noisy), (history, *arrays) = files(directory), files(tmp_path / "clean")
    assert all(np.array_equal(one, other) for one, other in zip(noisy, arrays, strict=True))
    for one, other in zip(noisy_history, history, strict=True):
        changed = {name for name in one if not name.endswith(("seconds", "checksum")) and one[name] != other[name]}
        assert {"val_loss"} <= changed <= {"val_loss", "val_accuracy"}


def test_what_rules_and_estimators_ask_for_is_recorded(run):
    directory, _, _ = run
    history, scores, predictions = files(directory)
    textbook = np.load(directory / "scores.textbook.npy")
    for record, row in zip(history, textbook, strict=True):
        assert record["gradient_disparity"] > 0
        assert record["sharpness"] > 0
        assert min(record["gradient_disparity_seconds"], record["sharpness_seconds"]) > 0
        assert record["estimates"]["textbook"]["alignment_mean"] == pytest.approx(row.astype(float).mean(), rel=1e-5)
    np.testing.assert_allclose(textbook, scores, atol=1e-4)
    churn = [record["prediction_churn"] for record in history]
    assert churn == [None, *(np.mean(predictions[1:] != predictions[:-1], axis=1))]


def test_nothing_is_measured_unasked(tmp_path):
    loop.train(small(epochs=1), tmp_path / "run")
    ((record,), _, _) = files(tmp_path / "run")
    assert not {"gradient_disparity", "sharpness", "estimates"} & record.keys()
    assert not (tmp_path / "run" / "scores.textbook.npy").exists()


def test_labels_belong_to_the_rows(run):
    directory, _, _ = run
    labels = np.load(directory / "labels.npz")
    source = load_digits().train
    position = {row: i for i, row in enumerate(source.rows)}
    clean = source.labels[[position[row] for row in labels["rows"]]]
    assert np.array_equal(labels["clean_labels"], clean)
    assert np.mean(labels["labels"] != clean) == pytest.approx(0.2, abs=0.08)


def test_the_chosen_checkpoint_has_the_accuracy_of_the_summary(run):
    """Loaded as a user would load it, evaluated apart from the trainer."""
    directory, config, summary = run
    test = load_digits().test
    model = networks.build(config.network, 10)
    for choice in summary["rules"].values():
        params = load_params(directory / choice["checkpoint"])
        logits = jax.jit(model.apply)({"params": params}, normalize(jax.numpy.asarray(test.images)))
        right = np.asarray(logits).argmax(-1) == test.labels
        assert np.mean(right) == pytest.approx(choice["test_accuracy"])
        record = files(directory)[0][choice["epoch"] - 1]
        halves = (record["test_accuracy_even"], record["test_accuracy_odd"])
        assert halves == pytest.approx((np.mean(right[::2]), np.mean(right[1::2])))
    assert summary["rules"]["last"]["epoch"] == summary["last"]["epoch"] == 4
    assert summary["wrong_label_share"] == pytest.approx(0.2, abs=0.08)


def test_a_finished_run_is_known(run):
    directory, config, summary = run
    assert workdir.find_summary(directory, config, overwrite=False) == summary
    assert workdir.find_summary(directory, config, overwrite=True) is None
    other = config.copy_and_resolve_references()
    other.optimizer.learning_rate = 0.5
    with pytest.raises(UserError, match=r"optimizer\.learning_rate: 0\.001 there, 0\.5 here"):
        workdir.find_summary(directory, other, overwrite=False)


def test_two_processes_do_not_share_a_work_directory(run):
    directory, config, _ = run
    with workdir.claim(directory, config, overwrite=False):
        before = (directory / "history.jsonl").read_bytes()
        with pytest.raises(UserError, match="another process is training"):
            loop.train(config, directory, overwrite=True)
        assert (directory / "history.jsonl").read_bytes() == before


@pytest.mark.parametrize("saved", [5, 8])
def test_a_run_that_was_cut_off_ends_as_if_it_had_not_been(tmp_path, capsys, saved):
    """Cut off where an epoch's records are written, its checkpoint is not; and within the second of 5 steps each."""
    options = {"augment.pad": 1, "augment.mixup": 0.2, "network.stochastic_depth": 0.2}
    options |= {"batch_size": 64, "steps_per_dispatch": 1, "checkpoint_steps": 3 if saved % 5 else 0}
    loop.train(small(**options), tmp_path / "whole")
    with cut_off(after=saved) as steps:
        loop.train(small(**options), tmp_path / "cut")
    assert steps == ([3, 5, 8, 10] if saved % 5 else [5, 10])
    assert len(files(tmp_path / "cut")[0]) == 2
    capsys.readouterr()
    loop.train(small(**options), tmp_path / "cut")
    assert f"\nbatch of 64 on 1 device (cpu); continues after step {saved}\n" in capsys.readouterr().out
    (history, scores, predictions), (expected, *arrays) = (files(tmp_path / name) for name in ("cut", "whole"))
    assert np.array_equal(scores, arrays[0])
    assert np.array_equal(predictions, arrays[1])
    for record, same in zip(history, expected, strict=True):
        assert record | UNTIMED == same | UNTIMED
    assert "resumed" in json.loads((tmp_path / "cut" / "environment.json").read_text())


def test_a_checkpoint_is_written_while_the_next_epoch_trains_and_waited_for_after_it(tmp_path, monkeypatch):
    """What an epoch of no length waits for is in the seconds of the epoch after it."""
    write = checkpoints.sync_tree

    def write_slowly(directory):
        time.sleep(0.5)
        write(directory)

    monkeypatch.setattr(checkpoints, "sync_tree", write_slowly)
    config = small(epochs=3, report=False, checkpoint_minutes=1000.0, **{"stopping.rules": ("last",)})
    loop.train(config, tmp_path / "run")
    first, second, third = files(tmp_path / "run")[0]
    assert first["checkpoint_seconds"] == 0
    assert second["checkpoint_seconds"] < 0.5
    assert third["checkpoint_seconds"] > 1  # the parameters for the rule, and the state
    assert third["seconds"] >= third["checkpoint_seconds"] + third["train_seconds"]


def test_fewer_checkpoints_cost_the_epochs_since_the_latest_one(tmp_path, capsys, monkeypatch):
    config = small(epochs=4, checkpoint_minutes=1000.0, **{"stopping.rules": ("max_gwa", "label_wave", "last")})
    loop.train(config, tmp_path / "whole")
    log, epochs = Tracking.log, []

    def log_until(self, record):
        epochs.append(record["epoch"])
        if len(epochs) == 3:
            raise CutOff
        log(self, record)

    monkeypatch.setattr(Tracking, "log", log_until)
    with pytest.raises(CutOff):
        loop.train(config, tmp_path / "cut")
    assert len(files(tmp_path / "cut")[0]) == 3
    capsys.readouterr()
    loop.train(config, tmp_path / "cut")
    assert epochs == [1, 2, 3, 2, 3, 4]  # the first epoch has a checkpoint
    assert "continues after step 5\n" in capsys.readouterr().out
    (history, *arrays), (expected, *whole) = (files(tmp_path / name) for name in ("cut", "whole"))
    assert [record | UNTIMED for record in history] == [record | UNTIMED for record in expected]
    assert all(np.array_equal(*pair) for pair in zip(arrays, whole, strict=True))
    summaries = [json.loads((tmp_path / name / "summary.json").read_text()) | UNTIMED for name in ("cut", "whole")]
    assert summaries[0] == summaries[1]
    for choice in summaries[0]["rules"].values():
        ours, theirs = (load_params(tmp_path / name / choice["checkpoint"]) for name in ("cut", "whole"))
        assert jax.tree.all(jax.tree.map(np.array_equal, ours, theirs))


def test_patience_really_stops(tmp_path):
    """A learning rate of 0 leaves the score of every epoch alike: the first eligible epoch stays the best."""
    config = small(epochs=12, **{"stopping.patience": 2, "optimizer.learning_rate": 1e-12, "stopping.warmup": 0.0})
    summary = loop.train(config, tmp_path / "run")
    chosen = summary["rules"]["max_gwa"]["epoch"]
    assert summary["epochs"] == chosen + 2 < 12
    assert len(files(tmp_path / "run")[0]) == summary["epochs"]


def test_divergence_ends_the_run_and_keeps_what_there_was(tmp_path):
    config = small(**DIVERGING)
    with pytest.raises(UserError, match="the loss of epoch 1 is"):
        loop.train(config, tmp_path / "run")
    assert (tmp_path / "run" / "history.jsonl").read_text() == ""


def test_a_head_of_zeros_has_no_score_and_says_why(tmp_path):
    config = small(epochs=1, batch_size=300, **{"network.head_init": "zeros", "stopping.patience": 2})
    summary = loop.train(config, tmp_path / "run")
    ((record,), scores, _) = files(tmp_path / "run")
    assert not scores.any()
    assert record["gwa"] is None
    assert "variance of the alignments is 0" in record["reasons"]["excess_kurtosis"]
    assert summary["rules"]["max_gwa"]["epoch"] is None
    assert summary["rules"]["max_gwa"]["reason"] == (
        "gwa is undefined in 1 of 1 epochs (the variance of the alignments is 0: 1), so stopping.patience=2 "
        "never counted"
    )


def test_training_without_a_test_set(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "mine.npz", images=rng.integers(0, 256, (100, 8, 8), dtype=np.uint8), labels=np.arange(100) % 4)
    config = small(epochs=2, **{"dataset.name": "arrays", "dataset.path": str(tmp_path / "mine.npz")})
    config.dataset.train_examples = 0
    config.dataset.label_noise.kind, config.dataset.label_noise.rate = "none", 0.0
    summary = loop.train(config, tmp_path / "run")
    assert summary["last"]["epoch"] == 2
    assert summary["last"]["test_accuracy"] is None
    assert summary["best_on_test"]["epoch"] is None
    assert "clean_labels" not in np.load(tmp_path / "run" / "labels.npz")


ON_DEVICES = """
import sys
import time
sys.path.insert(0, "src")
import repository
import pathlib
from configs import base, digits
from training import loop
workdir = pathlib.Path(sys.argv[1])
config = digits.get_config()
config.epochs, config.batch_size, config.eval_batch_size = 2, 64, 50
config.dataset.train_examples = 300
config.network.depths, config.network.widths = (1, 1), (8, 16)
loop.train(config, workdir / "convnext")
config.network.update({name: None for name in base.network() if name not in ("options", "compute_dtype")})
config.network.update({"name": "vit", "patch_size": 2, "width": 16, "depth": 1, "mlp_dim": 16, "num_heads": 2})
config.network.update({"dropout": 0.1, "stochastic_depth": 0.1})
config.augment.update({"pad": 1, "randaugment_ops": 2, "randaugment_magnitude": 3.0, "mixup": 0.2, "cutmix": 1.0})
config.optimizer.accumulation_steps = 2
loop.train(config, workdir / "vit")
"""


@pytest.mark.slow
def test_one_device_and_four_give_the_same(tmp_path):
    for count in (1, 4):
        environment = os.environ | {
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={count}",
            "JAX_PLATFORMS": "cpu",
        }
        command = [sys.executable, "-c", ON_DEVICES, str(tmp_path / str(count))]
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
    for network in ("convnext", "vit"):
        (history, scores, _), (expected, expected_scores, _) = (files(tmp_path / n / network) for n in ("4", "1"))
        devices = json.loads((tmp_path / "4" / network / "environment.json").read_text())["devices"]
        assert len(devices) == 4
        np.testing.assert_allclose(scores, expected_scores, atol=1e-5)
        for record, same in zip(history, expected, strict=True):
            for name in ("train_loss", "test_loss", "gwa"):
                assert record[name] == pytest.approx(same[name], abs=1e-5)


def test_a_batch_larger_than_the_training_set_is_all_of_it(tmp_path, capsys):
    loop.train(small(epochs=1, batch_size=300), tmp_path / "all")
    assert "batch_size is" not in capsys.readouterr().out
    loop.train(small(epochs=1, batch_size=100_000), tmp_path / "more")
    said = capsys.readouterr().out
    assert "data: training 300 images of 10 classes, no validation data, test 359 images of 10 classes\n" in said
    assert "batch_size is 100000, more than the training set has; each update takes all of it\n" in said
    assert "batch of 300 on 1 device" in said
    assert json.loads((tmp_path / "more" / "config.json").read_text())["batch_size"] == 100_000
    for one, other in zip(files(tmp_path / "all")[1:], files(tmp_path / "more")[1:], strict=True):
        assert np.array_equal(one, other)
