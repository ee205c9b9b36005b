"""Runs that were cut off or damaged: they end as if nothing had happened, or are refused in one line."""

import gc
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_runs import DIVERGING, UNTIMED, cut_off, files, small

from datasets.arrays import load_digits
from errors import UserError
from training import loop
from training.run import stored_state
from training.run.checkpoints import Checkpoints
from training.run.json_objects import read_object
from training.run.workdir import find_summary
from training.state import TrainState


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of three epochs of five steps, and one that was cut off where the third epoch would have been saved."""
    folder = tmp_path_factory.mktemp("runs")
    loop.train(small(), folder / "whole")
    with cut_off(after=10):
        loop.train(small(), folder / "cut")
    return folder


@pytest.fixture
def cut(runs, tmp_path):
    shutil.copytree(runs / "cut", tmp_path / "cut")
    return tmp_path / "cut"


def test_a_resumed_run_holds_its_state_once(tmp_path, monkeypatch):
    held, train_epoch = [], loop.train_epoch

    def count(*arguments):
        gc.collect()
        held.append(sum(array.nbytes for array in jax.live_arrays()))
        return train_epoch(*arguments)

    monkeypatch.setattr(loop, "train_epoch", count)
    with cut_off(after=10):
        loop.train(small(), tmp_path)
    first = held[-1]
    loop.train(small(), tmp_path)
    assert held[-1] <= first


def assert_same(workdir, whole):
    (history, *arrays), (expected, *same) = files(workdir), files(whole)
    assert [record | UNTIMED for record in history] == [record | UNTIMED for record in expected]
    assert all(np.array_equal(one, other) for one, other in zip(arrays, same, strict=True))


def test_half_a_line_of_the_epoch_of_the_checkpoint_costs_that_epoch_alone(runs, cut, capsys):
    path = cut / "history.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + lines[1][:99])
    np.save(cut / "mine.npy", np.arange(9))
    loop.train(small(), cut)
    assert "history.jsonl is cut off before its epoch" in capsys.readouterr().err
    assert_same(cut, runs / "whole")
    assert np.array_equal(np.load(cut / "mine.npy"), np.arange(9))


@pytest.mark.parametrize("kept", [slice(0, 1), slice(1, 2), [0, 1, 1]])
def test_a_history_that_lacks_or_repeats_a_line_is_refused(cut, kept):
    path = cut / "history.jsonl"
    path.write_text("".join(np.array(path.read_text().splitlines(keepends=True))[kept]))
    before = {path: path.read_bytes() for path in cut.glob("*.*") if path.name != "environment.json"}
    with pytest.raises(UserError, match=r"history\.jsonl") as error:
        loop.train(small(), cut)
    assert "\n" not in str(error.value)
    assert before == {path: path.read_bytes() for path in before}


def test_a_flipped_bit_in_an_earlier_epoch_is_refused_until_a_copy_is_put_back(runs, cut):
    kept = [*cut.glob("*"), *(cut / "checkpoints" / "resume").rglob("*")]
    before = {path: path.read_bytes() for path in kept if path.is_file() and path.name != "environment.json"}
    for file in ("history.jsonl", "scores.npy", "predictions.npy"):
        data = before[cut / file]
        place = data.index(b'"train_loss": ') + 18 if file == "history.jsonl" else 128 + 40
        damaged = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        (cut / file).write_bytes(damaged)
        with pytest.raises(UserError, match=f"{file}.* is not what was written; put back a copy"):
            loop.train(small(), cut)
        assert before | {cut / file: damaged} == {path: path.read_bytes() for path in before}
        (cut / file).write_bytes(data)
    loop.train(small(), cut)
    assert_same(cut, runs / "whole")


def test_records_without_a_checkpoint_are_refused(cut):
    shutil.rmtree(cut / "checkpoints" / "resume")
    with pytest.raises(UserError, match=r"holds 3 epochs in history\.jsonl, but no checkpoint"):
        loop.train(small(), cut)
    assert len(files(cut)[0]) == 3
    assert (cut / "checkpoints" / "max_gwa").exists()


def test_a_start_that_was_cut_off_at_once_is_repeated(runs, tmp_path):
    (tmp_path / "config.json.tmp").write_text('{"se')
    assert find_summary(tmp_path, small(), overwrite=False) is None
    (tmp_path / "scores.npy").write_bytes(b"")
    with pytest.raises(UserError, match="holds no run"):
        find_summary(tmp_path, small(), overwrite=False)
    shutil.copy(runs / "whole" / "config.json", tmp_path)
    assert find_summary(tmp_path, small(), overwrite=False) is None
    loop.train(small(), tmp_path)
    assert_same(tmp_path, runs / "whole")
    assert not (tmp_path / "config.json.tmp").exists()


def test_other_data_are_refused_before_anything_is_changed(tmp_path):
    source, place = load_digits().train, tmp_path / "mine.npz"
    images, labels = source.images[:200], source.labels[:200]
    np.savez(place, images=images, labels=labels)
    config = small(**{"dataset.name": "arrays", "dataset.path": str(place), "dataset.train_examples": 0})
    with cut_off(after=4):
        loop.train(config, tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    for changed, message in (
        ({"images": images[1:], "labels": labels[1:]}, "199 images instead of 200"),
        ({"images": images[::-1], "labels": labels[::-1]}, "the same images in another order of rows"),
    ):
        np.savez(place, **changed)
        with pytest.raises(UserError, match=message):
            loop.train(config, tmp_path / "run")
        assert before == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    np.savez(place, images=images, labels=labels)
    assert loop.train(config, tmp_path / "run")["epochs"] == 3


def test_a_field_that_an_older_version_did_not_have_counts_as_its_default(runs, tmp_path):
    shutil.copytree(runs / "whole", tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    config = read_object(path)
    del config["record"], config["dataset"]["stream"], config["optimizer"]["ema"]
    path.write_text(json.dumps(config))
    assert find_summary(tmp_path / "run", small(), overwrite=False)["epochs"] == 3
    with pytest.raises(UserError, match=r"optimizer\.ema: 0\.0 there, 2\.0 here\); choose another --workdir, or use"):
        find_summary(tmp_path / "run", small(**{"optimizer.ema": 2.0}), overwrite=False)


def make_state(rows=64, optimizer=None, value=0.5):
    params = {"head": {"kernel": jnp.asarray(np.random.default_rng(0).random((rows, 10), np.float32) + value)}}
    optimizer = optimizer or optax.adamw(1e-3)
    return TrainState(params, optimizer.init(params), jnp.int32(4), jax.random.key(0))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Two checkpoints to resume from, after steps 4 and 8."""
    folder = tmp_path_factory.mktemp("saved")
    with Checkpoints(folder) as checkpoints:
        for step in (2, 4, 8):
            checkpoints.save_resume(step, make_state(value=step))
    return folder


def list_files(folder):
    return [path for path in sorted((folder / "checkpoints" / "resume" / "8").rglob("*")) if path.is_file()]


@pytest.mark.parametrize("damage", ["first bit", "middle bit", "last bit", "half", "nothing", "absent"])
def test_damage_to_any_file_of_a_checkpoint_is_noticed_or_does_no_harm(saved, tmp_path, damage, capsys):
    assert {path.name for path in (saved / "checkpoints" / "resume").iterdir()} == {"4", "8"}
    noticed = 0
    for number, file in enumerate(list_files(saved)):
        folder = tmp_path / str(number)
        shutil.copytree(saved, folder)
        path, content = folder / file.relative_to(saved), bytearray(file.read_bytes())
        if damage == "absent":
            path.unlink()
        elif damage in ("half", "nothing"):
            path.write_bytes(content[: len(content) // 2 if damage == "half" else 0])
        else:
            content[{"first": 0, "middle": len(content) // 2, "last": -1}[damage.split()[0]]] ^= 1
            path.write_bytes(content)
        with Checkpoints(folder) as checkpoints:
            epoch, state, _ = checkpoints.resume(make_state(), 4)
            assert epoch in (1, 2)
            expected = make_state(value=4 * epoch)
            assert jax.tree.all(jax.tree.map(np.array_equal, state.params, expected.params))
            assert jax.tree.all(jax.tree.map(np.array_equal, state.opt_state, expected.opt_state))
            checkpoints.save_resume(12, state)
        messages = capsys.readouterr().err.splitlines()
        assert len(messages) == (epoch == 1)
        assert (folder / "checkpoints" / "damaged" / "resume-8").exists() == (epoch == 1)
        noticed += epoch == 1
    assert noticed == len(list_files(saved))


@pytest.mark.parametrize(
    ("state", "cause"),
    [
        (make_state(rows=32), r"head/kernel is float32 \(64, 10\) there and float32 \(32, 10\) here"),
        (make_state(optimizer=optax.sgd(0.1)), r"state/opt_state/0/count is int32 \(\) there and absent here"),
    ],
)
def test_a_restore_that_fails_says_why_and_moves_nothing(saved, state, cause):
    with Checkpoints(saved) as checkpoints, pytest.raises(UserError, match=cause) as error:
        checkpoints.resume(state, 4)
    assert "\n" not in str(error.value)
    assert {path.name for path in (saved / "checkpoints" / "resume").iterdir()} == {"4", "8"}


@pytest.mark.parametrize("on_host", [True, False])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_parameters_that_are_not_finite_are_not_saved(tmp_path, monkeypatch, value, on_host):
    """One of them is enough; accelerators find it themselves."""
    if not on_host:
        monkeypatch.setattr(stored_state, "_are_finite", stored_state._are_finite_on_devices)
    state = make_state()
    state.params["head"]["kernel"] = state.params["head"]["kernel"].at[3, 4].set(value)
    with Checkpoints(tmp_path) as checkpoints:
        for save in (lambda: checkpoints.save_resume(1, state), lambda: checkpoints.keep_best([], 1, state.params)):
            with pytest.raises(UserError, match="parameters are not finite"):
                save()
    assert not list(tmp_path.glob("checkpoints/*/*"))


def test_a_run_that_diverges_within_an_epoch_leaves_no_checkpoint_of_it(tmp_path, monkeypatch):
    finite, save = [], Checkpoints._save

    def save_and_look(*arguments, **items):
        params = items["default"]["tree"]["state"]["params"]
        finite.append(all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params)))
        save(*arguments, **items)

    monkeypatch.setattr(Checkpoints, "_save", save_and_look)
    config = small(checkpoint_steps=1, **DIVERGING)
    config.steps_per_dispatch = 1
    with pytest.raises(UserError, match="the parameters are not finite"):
        loop.train(config, tmp_path / "run")
    assert all(finite)
    assert len(finite) < 5  # the steps of an epoch


def test_a_config_that_cannot_be_trained_deletes_nothing(runs, tmp_path):
    shutil.copytree(runs / "whole", tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    config = small(**DIVERGING)
    for change, message in (
        (config, "the parameters are not finite"),
        (small(pretrained=str(tmp_path / "run")), "what pretrained names"),
    ):
        with pytest.raises(UserError, match=message):
            loop.train(change, tmp_path / "run", overwrite=True)
        assert before == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}


def test_what_is_only_shown_or_saved_may_change(runs):
    """Of a finished run, which is then reported; a field that is computed with is refused."""
    free = {"wandb.mode": "offline", "checkpoint_steps": 7, "checkpoint_minutes": 3.0, "dataset.stream.threads": 2}
    assert find_summary(runs / "whole", small(**free), overwrite=False)["epochs"] == 3
    with pytest.raises(UserError, match=r"another config \(batch_size: 64 there, 32 here\)"):
        find_summary(runs / "whole", small(**free, batch_size=32), overwrite=False)
