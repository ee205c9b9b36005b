"""Judging kept checkpoints of a small run, on corrupted images."""

import json
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from run_scripts import check_refusal, run_script

import datasets
import networks
from configs import digits
from datasets.examples import Examples
from datasets.feeds.augment import normalize
from datasets.labels import draw_stratified
from errors import UserError
from evaluation import corrupted_sets, evaluate
from evaluation.corruptions import BENCHMARK, corrupt
from evaluation.evaluate import evaluate_checkpoints
from evaluation.test_sets import open_test_set
from training import loop
from training.run.json_objects import read_object
from training.run.restoring import load_params

ROOT = pathlib.Path(__file__).parents[2]


def write_source(file, side=32, test=True):
    """Two classes, a gradient to the right and one downwards, of random colours."""
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 2
    ramp = np.linspace(0, 1, side)[:, None] * np.ones(side)
    images = np.where(labels[:, None, None], ramp, ramp.T)[..., None] * rng.uniform(60, 250, (90, 1, 1, 3))
    images = np.clip(images + rng.normal(0, 60, images.shape), 0, 255).astype(np.uint8)
    arrays = {"images": images[:60], "labels": labels[:60]}
    np.savez(file, **arrays, **({"test_images": images[60:], "test_labels": labels[60:]} if test else {}))
    return file


def small(source, **overrides):
    config = digits.get_config()
    config.epochs, config.batch_size, config.steps_per_dispatch, config.eval_batch_size = 2, 20, 3, 16
    config.dataset.update({"name": "arrays", "path": str(source), "label_noise": {"kind": "none", "rate": 0.0}})
    config.network.update({"patch_size": 8, "depths": (1,), "widths": (8,)})
    config.stopping.rules, config.stopping.warmup = ("max_gwa", "last", "oracle"), 0.0
    config.evaluate = ("cifar10_c",)
    config.update_from_flattened_dict(overrides)
    return config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that evaluates at its end, its config and its summary."""
    directory = tmp_path_factory.mktemp("runs")
    config = small(write_source(directory / "source.npz"))
    summary = loop.train(config, directory / "run")
    return directory / "run", config, summary


@pytest.fixture(scope="module")
def at_the_end(run):
    """The record that training left, before any other test evaluates the run."""
    return json.loads((run[0] / "evaluations.json").read_text())["cifar10_c"]


def write_official(directory, count=12):
    """CIFAR-10-C's layout, made of random pixels."""
    rng = np.random.default_rng(1)
    directory.mkdir()
    np.save(directory / "labels.npy", np.tile(np.arange(count) % 2, 5))
    for name in BENCHMARK:
        np.save(directory / f"{name}.npy", rng.integers(0, 256, (5 * count, 32, 32, 3), dtype=np.uint8))
    return directory


def test_accuracies_are_those_of_the_kept_checkpoints(run, at_the_end):
    """For two corruptions, apart from the trainer and its batches."""
    workdir, config, summary = run
    test = datasets.build(config.dataset).test
    model = networks.build(config.network, 2)
    assert set(at_the_end["rules"]) == set(summary["rules"])
    for rule, choice in summary["rules"].items():
        result = at_the_end["rules"][rule]
        assert result["epoch"] == choice["epoch"]
        assert result["clean_accuracy"] == pytest.approx(choice["test_accuracy"])
        params = load_params(workdir / choice["checkpoint"])
        for name, severity in (("gaussian_noise", 5), ("elastic_transform", 1)):
            images = corrupt.corrupt_images(test.images, name, severity)
            logits = jax.jit(model.apply)({"params": params}, normalize(jax.numpy.asarray(images)))
            expected = np.mean(np.argmax(logits, -1) == test.labels)
            assert result["accuracy"][name][str(severity)] == pytest.approx(expected)


def test_a_run_that_ends_early_evaluates_an_epoch_that_was_kept_in_memory(tmp_path):
    patient = {"epochs": 12, "stopping.patience": 1, "checkpoint_minutes": 1000.0, "stopping.rules": ("max_gwa",)}
    summary = loop.train(small(write_source(tmp_path / "source.npz"), **patient), tmp_path / "run")
    choice = summary["rules"]["max_gwa"]
    assert 1 < choice["epoch"] < summary["epochs"] < 12
    result = json.loads((tmp_path / "run" / "evaluations.json").read_text())["cifar10_c"]["rules"]["max_gwa"]
    assert result["clean_accuracy"] == pytest.approx(choice["test_accuracy"])


def test_means_are_over_the_benchmarks_fifteen(at_the_end):
    assert at_the_end["source"] == at_the_end["frost"] == "generated"
    assert at_the_end["examples"] == 30
    for result in at_the_end["rules"].values():
        assert list(result["accuracy"]) == list(BENCHMARK)
        table = np.array([[by[str(s)] for s in range(1, 6)] for by in result["accuracy"].values()])
        assert result["mean"] == pytest.approx(table.mean())
        noise = table[:3]
        assert result["groups"]["noise"] == pytest.approx(
            {**{str(s): noise[:, s - 1].mean() for s in range(1, 6)}, "mean": noise.mean()}
        )
        means = [result["groups"][group]["mean"] for group in ("noise", "blur", "weather", "digital")]
        assert result["mean"] == pytest.approx(np.average(means, weights=[3, 4, 4, 4]))


def test_rules_that_keep_one_epoch_are_evaluated_once(run, monkeypatch):
    workdir, config, summary = run
    loaded = []

    def load(path):
        loaded.append(path)
        return load_params(path)

    monkeypatch.setattr(evaluate, "load_params", load)
    splits = datasets.build(config.dataset)
    test_set = open_test_set("cifar10_c", None, config, splits, [2], 4)
    rules = {"nothing": {"epoch": None, "checkpoint": None}, **summary["rules"], "again": summary["rules"]["last"]}
    (result,) = evaluate_checkpoints(workdir, config, rules, splits, {"cifar10_c": test_set}).values()
    assert len(loaded) == len({choice["epoch"] for choice in summary["rules"].values()})
    assert result["rules"]["again"] == result["rules"]["last"]
    assert result["rules"]["nothing"] == dict.fromkeys(("epoch", "clean_accuracy", "accuracy", "groups", "mean"))
    assert result["examples"] == 4
    assert read_object(workdir / "evaluations.json") == {"cifar10_c": result}


def test_parts_do_not_change_the_result(run, at_the_end, monkeypatch):
    workdir, config, summary = run
    splits = datasets.build(config.dataset)
    monkeypatch.setattr(corrupted_sets, "_BYTES_AT_ONCE", 11 * 32 * 32 * 3)
    test_set = open_test_set("cifar10_c", None, config, splits, [3])
    (result,) = evaluate_checkpoints(workdir, config, summary["rules"], splits, {"cifar10_c": test_set}).values()
    for rule, whole in at_the_end["rules"].items():
        for name, by_severity in result["rules"][rule]["accuracy"].items():
            assert by_severity == {"3": whole["accuracy"][name]["3"]}


def test_script_evaluates_a_finished_run(run, at_the_end):
    workdir, _, _ = run
    result = run_script("evaluate.py", workdir, "--on=cifar10_c", "--severities=1,5")
    record = read_object(workdir / "evaluations.json")["cifar10_c"]
    lines = result.stdout.splitlines()
    assert lines[0] == "cifar10_c (generated, generated frost), 30 images, severity 1, 5:"
    assert lines[1].split() == ["epoch", "clean", "noise", "blur", "weather", "digital", "all", "corruptions"]
    assert [line.split()[0] for line in lines[2:]] == list(record["rules"])
    assert len({len(line) for line in lines[1:]}) == 1
    for i, rule in enumerate(record["rules"]):
        whole = at_the_end["rules"][rule]["accuracy"]
        assert record["rules"][rule]["accuracy"]["fog"] == {s: whole["fog"][s] for s in ("1", "5")}
        assert lines[2 + i].split()[4] == f"{100 * record['rules'][rule]['groups']['blur']['mean']:.2f}"


def test_official_files_are_recorded_as_such(run, tmp_path):
    workdir, config, summary = run
    splits = datasets.build(config.dataset)
    test_set = open_test_set("cifar10_c", str(write_official(tmp_path / "official")), config, splits, [2], 10)
    (result,) = evaluate_checkpoints(workdir, config, summary["rules"], splits, {"cifar10_c": test_set}).values()
    assert (result["source"], result["frost"], result["examples"]) == ("official", "official", 10)
    labels = np.arange(12) % 2
    rows, _ = draw_stratified(labels, 10, seed=0)
    params = load_params(workdir / summary["rules"]["last"]["checkpoint"])
    images = np.load(tmp_path / "official" / "snow.npy")[12:24][rows]
    logits = jax.jit(networks.build(config.network, 2).apply)({"params": params}, normalize(jax.numpy.asarray(images)))
    expected = np.mean(np.argmax(logits, -1) == labels[rows])
    assert result["rules"]["last"]["accuracy"]["snow"] == {"2": pytest.approx(expected)}


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--severities=0", "--severities is '0'"),
        ("--severities=1,1", "--severities is '1,1'"),
        ("--severities=", "--severities is ''"),
        ("--examples=31", "31 examples are asked for; cifar10_c has 30"),
    ],
)
def test_script_mistakes_are_one_line(run, argument, message):
    check_refusal(run_script("evaluate.py", run[0], "--on=cifar10_c", argument), message)


def test_script_needs_a_finished_run(tmp_path):
    command = [sys.executable, "scripts/evaluate.py", str(tmp_path), "--on=cifar10_c"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr == f"evaluate.py: {tmp_path} holds no finished run\n"


@pytest.mark.parametrize(
    ("source", "overrides", "message"),
    [
        ({}, {"evaluate": ("cifar10c",)}, "no further test set 'cifar10c'"),
        ({"side": 40}, {}, r"images of \(32, 32, 3\), but the run's are \(40, 40, 3\)"),
        ({}, {"evaluate": ("imagenet_c",)}, r"images of \(224, 224, 3\)"),
        ({"test": False}, {"stopping.rules": ("last",)}, "made from test images in memory, but the run has none"),
        ({}, {"evaluate_path": "nowhere"}, "there is no folder nowhere"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_before_training(tmp_path, source, overrides, message):
    config = small(write_source(tmp_path / "source.npz", **source), **overrides)
    with pytest.raises(UserError, match=message):
        loop.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_incomplete_or_foreign_files_are_refused_before_training(tmp_path):
    official = write_official(tmp_path / "official")
    config = small(write_source(tmp_path / "source.npz"), evaluate_path=str(official))
    (official / "pixelate.npy").unlink()
    with pytest.raises(UserError, match=r"there is no file .*pixelate\.npy"):
        loop.train(config, tmp_path / "run")
    np.save(official / "labels.npy", np.full(60, 7))
    with pytest.raises(UserError, match="has class 7, but the run only 2 classes"):
        loop.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_official_files_do_for_a_run_without_test_data(tmp_path):
    splits = datasets.Splits(
        Examples.of(np.zeros((2, 32, 32, 3), np.uint8), np.arange(2), None), None, None, ("a", "b")
    )
    official = str(write_official(tmp_path / "official"))
    test_set = open_test_set("cifar10_c", official, digits.get_config(), splits)
    assert test_set.facts["source"] == "official"
