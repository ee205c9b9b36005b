"""Sweep files: what they list can be trained, by agents of Weights & Biases too; a mistake in one is one line."""

import ast
import pathlib
import shlex
import subprocess
import sys

import pytest
import yaml
from run_scripts import run_script

from repository import ROOT

from errors import UserError
from sweeps import Run
from sweeps.definition import Sweep, configure, load, select

FILES = sorted(path.name for path in (ROOT / "configs" / "sweeps").glob("*.py"))


@pytest.fixture(autouse=True)
def root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("file", FILES)
def test_every_run_of_a_file_can_be_configured(file):
    sweep = load(f"configs/sweeps/{file}")
    assert sweep.name == pathlib.Path(file).stem
    for run in sweep.runs:
        config = configure(run)
        for field, value in run.overrides.items():
            *path, name = field.split(".")
            holder = config
            for part in path:
                holder = holder[part]
            assert holder[name] == value, field
        assert run.cell["seed"] == config.seed


@pytest.mark.parametrize("file", FILES)
def test_docstring_says_command_and_number_of_runs(file):
    docstring = ast.get_docstring(ast.parse((ROOT / "configs" / "sweeps" / file).read_text()))
    assert f"uv run scripts/sweep.py configs/sweeps/{file}" in docstring
    assert f"{len(load(f'configs/sweeps/{file}').runs)} runs" in docstring


@pytest.mark.parametrize(
    ("sweep", "size", "examples", "steps"),
    [
        ("table1.py", 2 * 3 * 3 * 3, 50_000, {"vit": 35_000, "convnext": 9_000}),
        ("table1.py:imagenet", 2 * 3 * 3, 1_281_167, {"vit": 112_650, "convnext": 112_650}),
    ],
)
def test_table1_takes_the_papers_number_of_steps(sweep, size, examples, steps):
    """In whole epochs without partial batches, whatever share of the images is held out."""
    runs = load(f"configs/sweeps/{sweep}").runs
    assert len(runs) == size
    for run in runs:
        config = configure(run)
        samples = examples - round(examples * config.dataset.val_fraction)
        assert config.epochs == steps[run.cell["network"]] // (samples // config.batch_size)
        assert config.dataset.val_labels == ("clean" if "labels" in run.cell else "observed")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "defines no function get_runs"),
        ("def get_runs(:", "fails: SyntaxError"),
        ("import nothing_of_this_name", "fails: ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("def get_runs():\n    return [1][1]", "fails: IndexError: list index out of range"),
        ("def get_runs():\n    return []", "lists no runs"),
        (
            "def get_runs():\n    return [Run('configs/none.py', {'a': 1})]",
            "configs/none.py",
        ),
        (
            "def get_runs():\n    return 2 * [Run('configs/digits.py', {'a': 1, 'seed': 2})]",
            "lists the run 1-seed2 twice",
        ),
    ],
)
def test_a_mistake_in_a_file_is_told(tmp_path, text, message):
    file = tmp_path / "x.py"
    file.write_text("from sweeps import Run\n" + text)
    with pytest.raises(UserError, match=message) as error:
        load(str(file))
    assert "\n" not in str(error.value)


def test_a_variant_is_part_of_the_name(tmp_path):
    file = tmp_path / "x.py"
    file.write_text(
        "from sweeps import Run\n"
        "def get_runs(variant='a'):\n    return [Run('configs/digits.py', {'variant': variant})]"
    )
    assert load(f"{file}:b") == Sweep("x_b", (Run("configs/digits.py", {"variant": "b"}),))
    with pytest.raises(UserError, match="table1 has the variants cifar10, bfloat16 and imagenet, not 'x'"):
        load("configs/sweeps/table1.py:x")
    with pytest.raises(UserError, match="has no variants; 'x' is not understood"):
        load("configs/sweeps/model_comparison.py:x")


SWEEP = Sweep("x", tuple(Run("configs/digits.py", {"size": size}, {"epochs": 2}) for size in ("1", "10", "2", "[1]")))


@pytest.mark.parametrize(
    ("only", "names"), [("*", ["1", "10", "2", "[1]"]), ("1*", ["1", "10"]), ("2", ["2"]), ("[1]", ["1", "[1]"])]
)
def test_runs_are_selected_by_name(only, names):
    assert [run.name for run in select(SWEEP, only, []).runs] == names


def test_the_command_lines_overrides_come_last():
    selected = select(SWEEP, "10", ["--config.epochs=3", "--config.network.widths=(4, 8)"])
    (run,) = selected.runs
    config = configure(run)
    assert (config.epochs, config.network.widths) == (3, (4, 8))
    assert run.command(pathlib.Path("runs/x/10")) == (
        "uv run src/train.py --config=configs/digits.py --workdir=runs/x/10 --config.epochs=3 "
        "'--config.network.widths=(4, 8)'"
    )


@pytest.mark.parametrize(
    ("only", "argument", "message"),
    [
        ("3", "--config.epochs=3", "--only=3 matches no run; one is called 1"),
        ("*", "--epochs=3", "--epochs=3 is not understood"),
        ("*", "--config.epochs", "--config.epochs is not understood"),
        ("*", "--config.epochs=x", "the run 1 cannot be configured: .*epochs=x: it must be a whole number"),
        ("*", "--config.epocs=3", r"the config has no field epocs; did you mean epochs\?"),
    ],
)
def test_a_mistake_in_the_selection_is_told(only, argument, message):
    with pytest.raises(UserError, match=message):
        select(SWEEP, only, [argument])


def test_an_unknown_variant_of_a_config_is_told():
    with pytest.raises(UserError, match="variants convnext and vit"):
        configure(Run("configs/cifar10_small.py:resnet", {"a": 1}))


def test_a_sweep_file_needs_no_heavy_package():
    code = "import repository, sys, sweeps; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "src", check=True, capture_output=True, text=True)
    assert not {"jax", "numpy", "sweeps.launch", "sweeps.slurm"} & set(out.stdout.split())


def test_every_run_is_trained_by_the_command_of_an_agent(tmp_path):
    """The file for Weights & Biases is read with wandb's own functions, its macros are filled in as wandb says."""
    from wandb.sdk.launch.sweeps import utils

    extra = ["--config.wandb.mode=online", "--config.dataset.path=a folder"]
    arguments = ["configs/sweeps/model_comparison.py", f"--output={tmp_path}", "--only=*-2m-*", *extra]
    assert run_script("sweep.py", *arguments, f"--wandb_file={tmp_path / 'sweep.yaml'}").returncode == 0
    content = yaml.safe_load((tmp_path / "sweep.yaml").read_text())
    assert set(content) == {"name", "program", "method", "parameters", "command"}
    assert content["method"] == "grid"
    names = content["parameters"]["only"]["values"]
    assert names == ["convnext-2m-seed0", "vit-2m-seed0"]
    for name in names:
        macros = utils.create_sweep_command_args({"args": {"only": {"value": name}}})
        macros |= {"env": ["/usr/bin/env"], "program": [content["program"]]}
        words = utils.create_sweep_command(content["command"])
        command = [part for word in words for part in (macros[word[2:-1]] if word.startswith("${") else [word])]
        assert command[:4] == ["/usr/bin/env", "uv", "run", "scripts/sweep.py"]
        state, *words = shlex.split(run_script("sweep.py", *command[4:], "--dry_run").stdout)
        assert state == "new"
        assert f"--workdir={tmp_path}/model_comparison/{name}" in words
        assert set(extra) <= set(words)
