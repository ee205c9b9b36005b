"""A run of many epochs needs no more memory and no more open files than one of few."""

import os
import pathlib
import sys

import pytest
from small_runs import small

from training import loop
from training.run.tracking import Tracking


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_and_open_files_stay_as_they_are(tmp_path, monkeypatch):
    memory, open_files = [], []

    def look(self, record):
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
        memory.append(pages * os.sysconf("SC_PAGE_SIZE"))
        open_files.append(len(os.listdir("/proc/self/fd")))

    monkeypatch.setattr(Tracking, "log", look)
    options = {"stopping.rules": ("max_gwa", "dissent", "last"), "checkpoint_minutes": 1.0}  # as by default
    loop.train(small(epochs=300, **options), tmp_path / "run")
    assert len(memory) == 300
    assert max(memory) < 1.01 * max(memory[:50])
    assert max(open_files[50:]) <= max(open_files[:50])
