"""A power cut: whatever was not on the disk is lost, and the run goes on from one checkpoint earlier at most."""

import random
import resource

import pytest
from power_cut import Disk, cut_moments
from small_runs import UNTIMED, files, small

from training import loop
from training.run.checkpoints import Checkpoints
from training.run.restoring import count_steps

OPTIONS = {"steps_per_dispatch": 1, "checkpoint_steps": 3, "stopping.rules": ("max_gwa", "last")}
CUTS = 10


def config():
    return small(epochs=3, **OPTIONS)  # of five steps each


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run to its end, and how often it synchronises."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    folder = tmp_path_factory.mktemp("whole")
    disk = Disk(folder)
    with disk.until(None):
        loop.train(config(), folder / "run")
    disk.close()
    yield folder / "run", disk.syncs
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    "number",
    [pytest.param(i, marks=pytest.mark.slow if i == 8 else pytest.mark.long) for i in range(CUTS)],
)
def test_a_power_cut_costs_one_checkpoint_at_most(whole, tmp_path, number, monkeypatch):
    run, syncs = whole
    saved = [0]
    save = Checkpoints._save

    def save_and_note(self, manager, step, **items):
        save(self, manager, step, **items)
        if manager is self._resume:
            saved.append(step)

    moment = cut_moments(CUTS, syncs)[number]
    disk = Disk(tmp_path / "before")
    disk.folder.mkdir()
    with monkeypatch.context() as patch, disk.until(moment):
        patch.setattr(Checkpoints, "_save", save_and_note)
        loop.train(config(), tmp_path / "before" / "run")
    disk.write_to(tmp_path / "after", random.Random(moment))
    disk.close()
    continued = []
    resume = Checkpoints.resume

    def resume_and_note(self, template, steps_per_epoch, *more):
        epoch, state, started = resume(self, template, steps_per_epoch, *more)
        continued.append(epoch * steps_per_epoch + (count_steps(started) if started else 0))
        return epoch, state, started

    monkeypatch.setattr(Checkpoints, "resume", resume_and_note)
    loop.train(config(), tmp_path / "after" / "run")
    assert continued[0] >= saved[-1]
    (history, *arrays), (expected, *same) = files(tmp_path / "after" / "run"), files(run)
    assert [record | UNTIMED for record in history] == [record | UNTIMED for record in expected]
    assert all((one == other).all() for one, other in zip(arrays, same, strict=True))
    assert {path.relative_to(tmp_path / "after" / "run") for path in kept(tmp_path / "after" / "run")} == {
        path.relative_to(run) for path in kept(run)
    }


def kept(workdir):
    """The checkpoints of the rules."""
    return [path for rule in ("max_gwa", "last") for path in (workdir / "checkpoints" / rule).iterdir()]
