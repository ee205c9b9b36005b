"""With Hugging Face's `datasets` in the environment, every command and every import of a user still finds ours."""

import os
import subprocess
import sys

import pytest

from repository import ROOT

SCRIPTS = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "scripts").rglob("*.py")
    if not path.stem.endswith("torch") and path.parent.name != "__pycache__"
)


@pytest.fixture(scope="module")
def beside(tmp_path_factory):
    """An environment in which another package `datasets` comes before ours on Python's path, as in site-packages."""
    folder = tmp_path_factory.mktemp("site-packages")
    (folder / "datasets").mkdir()
    (folder / "datasets" / "__init__.py").write_text("IS_ANOTHER = True\n")
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT / "src")])}


def start(environment, *arguments):
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("package", ["training.loop", "evaluation.evaluate", "reports", "sweeps", "planning.cost"])
def test_our_packages_find_ours(beside, package):
    code = f"import {package}; import datasets; assert datasets.build"
    assert start(beside, "-c", code).returncode == 0


def test_another_package_that_came_first_is_named(beside):
    result = start(beside, "-c", "import datasets, training.loop")
    assert result.returncode == 1
    assert "another package `datasets` was imported before ours" in result.stderr.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_starts(beside, script):
    result = start(beside, script, "--help")
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.slow
def test_a_run_and_what_is_done_with_it(beside, tmp_path):
    """Trained, drawn, and loaded as the README does."""
    options = ["--config.epochs=1", "--config.dataset.train_examples=100", "--config.network.depths=(1,)"]
    options += ["--config.network.widths=(8,)", "--config.stopping.rules=('last',)"]
    workdir = tmp_path / "run"
    for command in (
        ["src/train.py", "--config=configs/digits.py", *options, f"--workdir={workdir}"],
        ["scripts/estimate.py", str(workdir), "--estimator=offline"],
        ["scripts/figures.py", str(workdir)],
        ["-c", f"from training.run.restoring import load_params; load_params('{workdir}/checkpoints/last/1')"],
    ):
        result = start(beside, *command)
        assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("place", ["scripts", "scripts/prepare"])
def test_a_script_of_another_copy_is_refused(tmp_path, place):
    """An environment may belong to another worktree, whose packages the script would run with."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "repository.py").touch()
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / "x.py").write_text("import repository")
    result = subprocess.run([sys.executable, tmp_path / place / "x.py"], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"x.py lies in {tmp_path}, but the environment has installed {ROOT}\n"
