"""Checkpoints on disk: one copy of an epoch's parameters, however many rules keep it."""

import errno
import json
import shutil
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from repository import ROOT

from errors import UserError
from training import loop
from training.run.checkpoints import Checkpoints
from training.run.reader import read_config
from training.run.restoring import load_params
from training.state import TrainState


def params(value):
    return {"head": {"kernel": jnp.full((4, 3), value, jnp.float32)}}


def save_best(checkpoints, rules, *best):
    checkpoints.keep_best(rules, *best)
    checkpoints.save_kept()


def files(folder):
    return {path.relative_to(folder): path.stat().st_ino for path in folder.rglob("*") if path.is_file()}


def test_rules_that_keep_an_epoch_share_its_files(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        for epoch, rules in enumerate(("ab", "b", "", "cd"), start=1):
            save_best(checkpoints, rules, epoch, params(epoch))
    folder = tmp_path / "checkpoints"
    kept = {rule: [path.name for path in (folder / rule).iterdir()] for rule in "abcd"}
    assert kept == {"a": ["1"], "b": ["2"], "c": ["4"], "d": ["4"]}
    assert files(folder / "c" / "4") == files(folder / "d" / "4") == files(folder / "epochs" / "4")
    for rule, (epoch,) in kept.items():
        np.testing.assert_array_equal(load_params(folder / rule / epoch)["head"]["kernel"], float(epoch))
    shutil.rmtree(folder / "d")  # the others are complete without it
    assert load_params(folder / "c" / "4")["head"]["kernel"].shape == (4, 3)


def test_what_is_kept_in_memory_is_saved_before_a_state_to_resume_from(tmp_path):
    state = TrainState(params(9), (), jnp.int32(6), jax.random.key(0))
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.keep_best(["a", "b"], 1, params(1))
        checkpoints.keep_best(["b"], 2, params(2))
        assert not list((tmp_path / "checkpoints").glob("[ab]"))
        checkpoints.save_resume(6, state)
    for rule, epoch in (("a", 1), ("b", 2)):
        (kept,) = (tmp_path / "checkpoints" / rule).iterdir()
        assert kept.name == str(epoch)
        np.testing.assert_array_equal(load_params(kept)["head"]["kernel"], float(epoch))


@pytest.mark.parametrize("moment", ["next save", "end", "end by another error"])
def test_what_makes_writing_fail_is_raised_at_the_next_save_or_at_the_end(tmp_path, monkeypatch, moment):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Checkpoints, "_save", fail)
    state = TrainState(params(9), (), jnp.int32(6), jax.random.key(0))

    def train():
        with Checkpoints(tmp_path) as checkpoints:
            checkpoints.save_resume(6, state)
            if moment == "next save":
                checkpoints.save_resume(7, state)
            elif moment != "end":
                raise UserError("training cannot go on")

    with pytest.raises(OSError, match="No space left"):
        train()
    assert not list((tmp_path / "checkpoints").glob("resume/*"))


@pytest.mark.parametrize("fits", [True, False])
def test_a_state_is_written_at_once_where_there_is_no_memory_for_a_copy(tmp_path, monkeypatch, fits):
    def refuse(tree):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")

    state, writers = TrainState(params(9), (), jnp.int32(6), jax.random.key(0)), []
    save = Checkpoints._save
    monkeypatch.setattr(
        Checkpoints, "_save", lambda *a, **k: (writers.append(threading.current_thread()), save(*a, **k))
    )
    with Checkpoints(tmp_path) as checkpoints:
        if not fits:
            monkeypatch.setattr("training.run.checkpoints._copy", refuse)
        checkpoints.save_resume(6, state)
        checkpoints.wait()
        epoch, restored, _ = checkpoints.resume(state, 6)
    assert epoch == 1
    np.testing.assert_array_equal(restored.params["head"]["kernel"], 9.0)
    assert (writers == [threading.main_thread()]) == (not fits)


def test_without_hard_links_each_rule_has_a_copy(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    with Checkpoints(tmp_path) as checkpoints:
        save_best(checkpoints, "ab", 1, params(1))
    shutil.rmtree(tmp_path / "checkpoints" / "epochs")
    for rule in "ab":
        np.testing.assert_array_equal(load_params(tmp_path / "checkpoints" / rule / "1")["head"]["kernel"], 1)


def test_a_flipped_bit_is_noticed(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        save_best(checkpoints, "a", 1, {"kernel": jnp.asarray(np.random.default_rng(0).random((64, 64), np.float32))})
    (data,) = (
        path for path in (tmp_path / "checkpoints" / "a").rglob("*") if path.is_file() and path.stat().st_size > 9000
    )
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    with pytest.raises(UserError, match="a/1 is damaged"):
        load_params(tmp_path / "checkpoints" / "a" / "1")


def test_a_file_that_is_cut_off_is_noticed(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        save_best(checkpoints, "a", 1, params(1))
    folder = tmp_path / "checkpoints" / "a" / "1"
    (folder / "default" / "_METADATA").write_bytes(b"{")
    with pytest.raises(UserError, match="a/1 is damaged"):
        load_params(folder)


def test_an_interrupted_run_of_the_first_version_continues(tmp_path):
    """Its checkpoint is called `latest`, and its config lacks fields of today."""
    workdir = tmp_path / "run"
    shutil.copytree(ROOT / "tests" / "support" / "old_run", workdir)
    expected = json.loads((workdir / "summary.json").read_text())
    (workdir / "summary.json").unlink()
    history = (workdir / "history.jsonl").read_text()
    summary = loop.train(read_config(workdir), workdir)
    assert summary["rules"]["max_gwa"] == expected["rules"]["max_gwa"]
    assert (workdir / "history.jsonl").read_text() == history  # all three epochs were finished
    assert (workdir / "checkpoints" / "resume" / "75").exists()
