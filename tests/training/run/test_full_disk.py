"""A disk that is full at a random write: one line, and the run goes on where there is room again."""

import os
import random
import subprocess

import pytest
from small_runs import UNTIMED, files, small

from errors import explain
from training import loop

pytestmark = pytest.mark.disk


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("whole") / "run"
    loop.train(small(), workdir)
    return files(workdir)


@pytest.fixture
def disk(tmp_path):
    """A folder on a disk of its own, and a function that gives it another size in kB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "none", str(tmp_path)]
    if os.getuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs root, and a system that lets it mount a tmpfs")
    yield tmp_path, lambda size: subprocess.run(["mount", "-o", f"remount,size={size}k", str(tmp_path)], check=True)
    subprocess.run(["umount", str(tmp_path)], check=True)


def train(workdir):
    """What ends the training, if something does."""
    try:
        loop.train(small(), workdir)
    except Exception as error:
        return error


def test_a_full_disk_is_one_line_and_costs_nothing(whole, disk):
    folder, resize = disk
    generator = random.Random(0)
    fulls = 0
    while fulls < 10:
        resize(generator.randint(20, 1000))
        workdir = folder / f"run{fulls}"
        error = train(workdir)
        if error is not None:
            assert "No space left on device" in (explain(error) or ""), error
            fulls += 1
            resize(20_000)
            assert train(workdir) is None
        (history, *arrays), (expected, *same) = files(workdir), whole
        assert [record | UNTIMED for record in history] == [record | UNTIMED for record in expected]
        assert all((one == other).all() for one, other in zip(arrays, same, strict=True))
        subprocess.run(["rm", "-r", str(workdir)], check=True)
