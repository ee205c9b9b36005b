"""What `import gwa` loads, and what the wheel holds."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_import_needs_only_jax_and_numpy():
    code = """
import sys
import jax, numpy
before = set(sys.modules)
import gwa
assert {"alignment", "moments", *gwa.__all__} <= {*dir(gwa)}
assert all(getattr(gwa, name) is not None for name in dir(gwa))
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)))
"""
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT / "src")
    assert set(result.stdout.split()) <= {"gwa", "jax", "jaxlib", "numpy"}


def test_rules_and_label_issues_work_without_jax():
    code = """
import sys
sys.modules["jax"] = None  # as if it were not installed
import numpy as np
import gwa, gwa.mixture
rng = np.random.default_rng(0)
wrong = np.arange(400) < 40
alignment = rng.normal(np.where(wrong, -0.6, 0.4), 0.1, (5, 400))
labels = np.arange(400) % 4
issues = gwa.find_label_issues(alignment, labels, np.where(wrong, (labels + 1) % 4, labels) * np.ones((5, 1), int))
assert (issues.is_label_issue == wrong).all()
assert gwa.MaxGWA(warmup=0.0).select([{"epoch": 1, "gwa": 0.1}, {"epoch": 2, "gwa": 0.2}]) == 2
try:
    gwa.head_alignment
except ImportError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT / "src")
    assert result.returncode == 0, result.stderr
    assert "jax" in result.stdout


def test_gwa_torch_without_pytorch_is_one_clear_line():
    code = """
import sys
sys.modules["torch"] = None  # as if it were not installed
import gwa.torch
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT / "src")
    assert result.returncode == 1
    assert "ImportError: gwa.torch needs PyTorch" in result.stderr.splitlines()[-1]


def test_the_wheel_holds_gwa_alone(tmp_path):
    if shutil.which("uv") is None:
        pytest.skip("uv is not on the PATH")
    subprocess.run(["uv", "build", "--wheel", "--quiet", "--out-dir", tmp_path], check=True, cwd=ROOT)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        metadata = archive.read(next(name for name in names if name.endswith("/METADATA"))).decode()
    packages = {name.partition("/")[0] for name in names if ".dist-info" not in name}
    assert packages == {"gwa"}
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert [line.split()[1].partition(">")[0] for line in required] == ["jax", "numpy"]
