"""A run trained again without each fold: its samples are judged by networks that have not seen them."""

import json
import shutil

import numpy as np
import pytest
from run_scripts import check_refusal, run_script
from small_runs import small

import datasets
from errors import UserError
from evaluation.trained import load_trained
from reports.cross_validation import classify, cross_validate, read_probabilities
from training import loop
from training.run.durable import write_json
from training.run.reader import load_array, read_run


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    loop.train(small(epochs=1), folder)
    return folder


def test_each_sample_is_judged_without_it(workdir, capsys):
    run = read_run(workdir)
    assert read_probabilities(run) is None
    result = cross_validate(run, folds=2)
    probabilities = read_probabilities(run)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    images, rows = datasets.build(small().dataset).train.images, load_array(workdir, "labels.npz")["rows"]
    seen = [load_array(workdir / "cross_validation" / f"fold{fold}_of_2", "labels.npz")["rows"] for fold in (1, 2)]
    np.testing.assert_array_equal(np.sort(np.concatenate(seen)), np.sort(rows))
    for fold, trained_on in enumerate(seen, start=1):
        held_out = ~np.isin(rows, trained_on)
        network = load_trained(workdir / "cross_validation" / f"fold{fold}_of_2")
        expected = classify(network, images)[held_out]
        np.testing.assert_allclose(probabilities[held_out], expected, atol=1e-6)
    capsys.readouterr()
    assert cross_validate(run, folds=2) == result
    assert "epoch 1/1" not in capsys.readouterr().out  # nothing is trained twice
    assert json.loads((workdir / "cross_validation" / "result.json").read_text())["folds"] == 2
    cross_validate(run, folds=3)  # whose first fold is another one
    assert not np.array_equal(load_array(workdir / "cross_validation" / "fold1_of_3", "labels.npz")["rows"], seen[0])


def test_what_cannot_be_cross_validated_is_refused(workdir, tmp_path):
    with pytest.raises(UserError, match=r"--folds is 1; it must be 2 to \d+, the size of"):
        cross_validate(read_run(workdir), folds=1)
    with pytest.raises(UserError, match="--folds is 200; it must be 2 to"):
        cross_validate(read_run(workdir), folds=200)
    check_refusal(run_script("cross_validate.py", tmp_path), "holds no")


def test_of_a_folder_those_on_cleaned_labels_are_left_out(workdir, tmp_path):
    for name, labels in (("a", None), ("b", "some.csv")):
        shutil.copytree(workdir, tmp_path / name, ignore=shutil.ignore_patterns("cross_validation"))
        config = json.loads((tmp_path / name / "config.json").read_text())
        config["dataset"]["labels"] = labels
        del config["checksum"]
        write_json(tmp_path / name / "config.json", config)
    result = run_script("cross_validate.py", tmp_path, "--folds=2")
    assert result.returncode == 0, result.stderr
    assert f"{tmp_path / 'b'}: trained on cleaned labels; left out" in result.stdout
    check_refusal(run_script("cross_validate.py", tmp_path / "b"), "was trained on cleaned labels")
