"""Memory that is freed is kept: it costs no page faults when it is needed again."""

import subprocess
import sys

import pytest

from repository import ROOT

PROGRAM = """
import sys; sys.path.insert(0, "src")
import resource, numpy as np
from parallel.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def fill():
    arrays = [np.ones(2**21) for _ in range(4)]  # 64 MB
fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    fill()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_freed_memory_is_used_again():
    def count_faults(what):
        command = [sys.executable, "-c", PROGRAM, what]
        return int(
            subprocess.run(command, cwd=ROOT, env={"JAX_PLATFORMS": "cpu"}, capture_output=True, check=True).stdout
        )

    assert count_faults("keep") < 100 < count_faults("give back")
