"""Whole runs on cleaned labels: what their work directories say, and which files they refuse to continue with."""

import numpy as np
import pytest
from label_files import write_label_file
from small_runs import cut_off, files, small

import datasets
from errors import UserError
from training import loop
from training.run.json_objects import read_object


@pytest.fixture
def config(tmp_path):
    """Of 240 training samples, a file in the directory of a run flags the first 40."""
    config = small(2, **{"dataset.val_fraction": 0.2})
    train = datasets.build(config.dataset).train
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "config.json").write_text("{}")
    config.dataset.labels = write_label_file(tmp_path / "first" / "label_issues.csv", train, range(40), suggested=3)
    return config


@pytest.mark.parametrize("clean", ["drop", "relabel"])
def test_what_the_work_directory_says(config, tmp_path, capsys, clean):
    config.epochs, config.dataset.clean = 1, clean
    workdir = tmp_path / "run"
    summary = loop.train(config, workdir)
    assert summary["cleaning"] == read_object(workdir / "cleaning.json")
    assert summary["cleaning"].items() >= {"run": "first", "clean": clean, "flagged": 40}.items()
    done = "dropped" if clean == "drop" else "relabelled"
    note = f"{summary['cleaning']['changed']} training examples {done} by {config.dataset.labels} (SHA-256 "
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith(note + summary["cleaning"]["sha256"][:12]) for line in lines)
    with np.load(workdir / "labels.npz") as arrays:
        labels, rows, clean_labels = arrays["labels"], arrays["rows"], arrays["clean_labels"]
    config.dataset.labels = None
    train = datasets.build(config.dataset).train
    first = 40 if clean == "drop" else 0
    relabelled = np.where(np.arange(240) < 40, 3, train.labels)
    assert np.array_equal(rows, train.rows[first:])
    assert np.array_equal(labels, relabelled[first:])
    assert np.array_equal(clean_labels, train.clean_labels[first:])
    assert summary["cleaning"]["changed"] == (40 if clean == "drop" else np.sum(relabelled != train.labels))
    assert (summary["train_examples"], summary["val_examples"]) == (240 - first, 60)
    _, scores, predictions = files(workdir)
    assert scores.shape == predictions.shape == (1, 240 - first)
    share = np.mean(relabelled[first:] != train.clean_labels[first:])
    assert summary["wrong_label_share"] == pytest.approx(share)


def test_a_run_continues_with_the_same_file_alone(config, tmp_path):
    with cut_off(after=5):
        loop.train(config, tmp_path / "run")
    file = tmp_path / "first" / "label_issues.csv"
    content = file.read_bytes()
    file.write_bytes(content.replace(b"False", b"True", 1))
    history = (tmp_path / "run" / "history.jsonl").read_text()
    with pytest.raises(UserError, match=r"label_issues\.csv has changed since the run in .*run began"):
        loop.train(config, tmp_path / "run")
    assert (tmp_path / "run" / "history.jsonl").read_text() == history
    file.write_bytes(content)
    assert loop.train(config, tmp_path / "run")["cleaning"]["kept"] == 200
    file.write_bytes(content.replace(b"False", b"True", 1))
    assert loop.train(config, tmp_path / "run", overwrite=True)["cleaning"]["kept"] == 199


def test_the_run_that_the_file_lies_in_is_not_emptied(config, tmp_path):
    with pytest.raises(UserError, match=r"--overwrite would delete what dataset.labels names in .*first"):
        loop.train(config, tmp_path / "first", overwrite=True)
    assert (tmp_path / "first" / "label_issues.csv").exists()
