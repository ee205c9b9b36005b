"""Finished runs: what is found, what belongs together, and what is refused."""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from finished import write_run
from hypothesis import given
from hypothesis import strategies as st

from repository import ROOT

from errors import UserError
from training.run.durable import write_json
from training.run.reader import (
    FinishedRun,
    find_runs,
    group_by_seed,
    load_array,
    read_config,
    read_history,
    read_run,
    read_run_or_runs,
    read_summary,
    upgrade_config,
)
from training.run.records import Records


def test_single_runs_and_sweeps_are_found_sorted(tmp_path):
    for name in ("b", "sweep/z", "sweep/y", "a"):
        write_run(tmp_path / name, test=[0.5])
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "history.jsonl").write_text("")
    assert [(run.sweep, run.name) for run in find_runs(tmp_path)] == [
        (None, "a"),
        (None, "b"),
        ("sweep", "y"),
        ("sweep", "z"),
    ]


def test_what_was_not_measured_is_nan(tmp_path):
    write_run(tmp_path / "a", test=[0.5, None, 0.7])
    run = read_run(tmp_path / "a")
    assert run.values("test_accuracy")[::2] == [0.5, 0.7]
    assert run.values("test_accuracy")[1] != run.values("test_accuracy")[1]
    assert all(value != value for value in run.values("gradient_norm"))  # older runs have no such field


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.integers(0, 9)), unique=True).flatmap(st.permutations))
def test_groups_do_not_depend_on_the_order(runs):
    finished = [
        FinishedRun(Path(f"{rate}{seed}"), None, {"seed": seed, "rate": rate}, {}, {}, []) for rate, seed in runs
    ]
    groups = group_by_seed(finished)
    expected = {rate: sorted(f"{rate}{seed}" for other, seed in runs if other == rate) for rate, _ in runs}
    assert [[run.name for run in group] for group in groups] == [expected[rate] for rate in sorted(expected)]


HALF = '{"epoch": 2, "prog'

DAMAGE = {
    "half-written history": ("history.jsonl", lambda text: text.splitlines()[0] + "\n" + HALF, "line 2"),
    "lost epoch": ("history.jsonl", lambda text: text.splitlines()[0] + "\n", "1 epochs"),
    "swapped epochs": ("history.jsonl", lambda text: "\n".join(text.splitlines()[::-1]), "line 1"),
    "a word for a number": ("history.jsonl", lambda text: text.replace("0.6", '"good"'), "test_accuracy"),
    "no field": ("history.jsonl", lambda text: text.replace("gwa", "score"), "gwa"),
    "a list": ("summary.json", lambda text: f"[{text}]", "no JSON object"),
    "half-written summary": ("summary.json", lambda text: text[:20], "not JSON"),
    "empty config": ("config.json", lambda text: "", "not JSON"),
    "no command": ("environment.json", lambda text: "{}", "command"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_one_line_that_names_the_file(tmp_path, damage):
    file, change, says = DAMAGE[damage]
    write_run(tmp_path / "a", test=[0.5, 0.6])
    path = tmp_path / "a" / file
    path.write_text(change(path.read_text()))
    with pytest.raises(UserError, match=says) as error:
        find_runs(tmp_path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("file", ["config.json", "environment.json", "history.jsonl"])
def test_a_missing_file_is_named(tmp_path, file):
    write_run(tmp_path / "a", test=[0.5])
    (tmp_path / "a" / file).unlink()
    with pytest.raises(UserError, match=f"{file} is missing"):
        find_runs(tmp_path)


@given(st.data())
def test_a_history_cut_anywhere_is_refused_or_whole(data):
    with tempfile.TemporaryDirectory() as folder:
        write_run(Path(folder) / "a", test=[0.5, 0.6])
        path = Path(folder) / "a" / "history.jsonl"
        text = path.read_text()
        cut = data.draw(st.integers(0, len(text)))
        path.write_text(text[:cut])
        if cut >= len(text) - 1:  # all but the last line's end
            assert len(read_run(Path(folder) / "a").history) == 2
        else:
            with pytest.raises(UserError, match="history"):
                read_run(Path(folder) / "a")


def test_the_run_in_a_folder_or_all_that_are_in_it(tmp_path):
    for name in ("sweep/y", "a"):
        write_run(tmp_path / name, test=[0.5])
    assert [run.name for run in read_run_or_runs(tmp_path)] == ["a", "y"]
    assert [run.name for run in read_run_or_runs(tmp_path / "a")] == ["a"]


def test_single_files_of_a_run_that_is_not_finished(tmp_path):
    write_run(tmp_path / "a", test=[0.5, 0.6])
    (tmp_path / "a" / "summary.json").unlink()
    assert read_config(tmp_path / "a").seed == 0
    assert [record["test_accuracy"] for record in read_history(tmp_path / "a")] == [0.5, 0.6]
    with pytest.raises(UserError, match=f"{tmp_path / 'a'} holds no finished run"):
        read_summary(tmp_path / "a")


def test_a_config_of_an_earlier_version_is_brought_up_to_date():
    old = {"seed": 3, "augment": {"pad": 4, "resize": 36}, "dataset": {"classes": ["cat", "dog"]}, "gone": 1}
    config = upgrade_config(old)
    assert (config["seed"], config["augment"]["pad"], config["gone"]) == (3, 4, 1)
    assert config["augment"]["upscale"] == 36  # what resize was called later
    assert config["augment"]["flip"] is False  # a default that the file lacks
    assert config["dataset"]["classes"] == ["cat", "dog"]
    assert config["optimizer"]["name"] == "adamw"
    assert old["augment"] == {"pad": 4, "resize": 36}


def test_scores_are_read_by_estimator(tmp_path):
    write_run(tmp_path / "a", test=[0.5, 0.6])
    np.save(tmp_path / "a" / "scores.npy", np.zeros((2, 3)))
    np.save(tmp_path / "a" / "scores.layers.stem.npy", np.ones((2, 3)))
    run = read_run(tmp_path / "a")
    assert run.load_scores().sum() == 0
    assert run.load_scores("layers/stem").sum() == 6
    with pytest.raises(UserError, match=r"a holds no scores\.offline\.npy"):
        run.load_scores("offline")


def test_reading_needs_no_heavy_package():
    code = "import repository, sys, training.run.reader; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, cwd=ROOT / "src", check=True, capture_output=True, text=True).stdout.split()
    assert not {"jax", "flax", "matplotlib", "scipy", "tensorflow_datasets"} & set(out)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A run that was written as training writes it, with its checksums."""
    workdir = tmp_path_factory.mktemp("runs") / "a"
    write_run(workdir, test=[0.5, 0.625, 0.75], learning_rate=[1e-3, 9.5e-4, 1.25e-5], val_loss=[None, 0.4, 0.3])
    history = read_history(workdir)
    (workdir / "history.jsonl").unlink()
    for name in ("config", "environment", "summary"):
        write_json(workdir / f"{name}.json", json.loads((workdir / f"{name}.json").read_text()))
    records, rng = Records(workdir), np.random.default_rng(0)
    for record in history:
        samples = {"alignment": rng.random(20, np.float32), "prediction": rng.integers(0, 9, 20, np.int16)}
        records.append(record, samples)
    return workdir


def attempt(read, *arguments):
    """What a reader returns, or None and its refusal."""
    try:
        return read(*arguments), None
    except UserError as error:
        return None, str(error)


def corrupt(data, rng):
    """Flipped bits, a cut, lost bytes, random bytes, or a line twice, gone or moved."""
    places = sorted(rng.integers(0, len(data) + 1, 2))
    lines = data.splitlines(keepends=True)
    line = rng.integers(len(lines))
    match rng.integers(7):
        case 0:
            return flip_bits(data, rng.integers(0, 8 * len(data), rng.integers(1, 4)))
        case 1:
            return data[: places[0]]
        case 2:
            return data[: places[0]] + data[places[1] :]
        case 3:
            return data[: places[0]] + rng.bytes(places[1] - places[0]) + data[places[1] :]
        case 4:
            return b"".join([*lines[: line + 1], *lines[line:]])
        case 5:
            return b"".join([*lines[:line], *lines[line + 1 :]])
        case _:
            return b"".join([*lines[line:], *lines[:line]])


def flip_bits(data, bits):
    flipped = bytearray(data)
    for bit in bits:
        flipped[bit // 8] ^= 1 << bit % 8
    return bytes(flipped)


@pytest.mark.parametrize("file", ["history.jsonl", "summary.json"])
def test_300_corruptions_are_refused_or_change_nothing(recorded, tmp_path, file):
    expected, workdir = read_run(recorded), shutil.copytree(recorded, tmp_path / "a")
    data, rng, refused = (workdir / file).read_bytes(), np.random.default_rng(0), 0
    for _ in range(300):
        (workdir / file).write_bytes(corrupt(data, rng))
        run, refusal = attempt(read_run, workdir)
        if run:
            assert (run.summary, run.history) == (expected.summary, expected.history)
        else:
            assert file in refusal
            assert "\n" not in refusal
            refused += 1
    assert refused > 200


@pytest.mark.parametrize("file", ["scores.npy", "predictions.npy"])
def test_every_flipped_bit_of_an_array_is_refused_or_changes_nothing(recorded, tmp_path, file):
    expected, workdir = load_array(recorded, file), shutil.copytree(recorded, tmp_path / "a")
    data = (workdir / file).read_bytes()
    for bit in range(8 * len(data)):
        (workdir / file).write_bytes(flip_bits(data, [bit]))
        array, refusal = attempt(load_array, workdir, file)
        if array is None:
            assert file in refusal
        else:
            assert bit < 8 * 128  # in the header, which has spaces
            np.testing.assert_array_equal(array, expected)


def test_files_without_checksums_are_read_as_they_are(recorded, tmp_path):
    """As older versions wrote them, and with predictions in a smaller type, as results/ has them."""
    workdir = shutil.copytree(recorded, tmp_path / "a")
    np.save(workdir / "predictions.npy", np.load(workdir / "predictions.npy").astype(np.uint8))
    assert load_array(workdir, "predictions.npy").dtype == np.uint8
    lines = [json.loads(line) for line in (workdir / "history.jsonl").read_text().splitlines()]
    for line in lines:
        del line["checksum"], line["row_checksums"]
    (workdir / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_run(workdir).history == read_run(recorded).history == lines
    np.save(workdir / "scores.npy", np.zeros((3, 20)))
    assert load_array(workdir, "scores.npy").sum() == 0
