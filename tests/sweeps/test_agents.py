"""The Weights & Biases file, read with wandb's own functions: every run's command trains that run alone."""

import pathlib
import shlex
import subprocess
import sys

import yaml
from wandb.sdk.launch.sweeps import utils

ROOT = pathlib.Path(__file__).parents[2]


def agents_command(content, name):
    """What an agent executes: wandb's macros, filled in as its documentation says."""
    macros = utils.create_sweep_command_args({"args": {"only": {"value": name}}})
    macros |= {"env": ["/usr/bin/env"], "program": [content["program"]]}
    command = []
    for word in utils.create_sweep_command(content["command"]):
        command += macros[word[2:-1]] if word.startswith("${") else [word]
    return command


def test_every_run_is_trained_by_its_own_command(tmp_path):
    arguments = ["scripts/sweep.py", "configs/sweeps/model_comparison.py", f"--output={tmp_path}"]
    file = tmp_path / "sweep.yaml"
    extra = ["--config.wandb.mode=online", "--config.dataset.path=a folder"]
    subprocess.run([sys.executable, *arguments, f"--wandb_file={file}", "--only=*-2m-*", *extra], cwd=ROOT, check=True)
    content = yaml.safe_load(file.read_text())
    assert content["method"] == "grid"
    names = content["parameters"]["only"]["values"]
    assert names == ["convnext-2m-seed0", "vit-2m-seed0"]
    assert set(content) == {"name", "program", "method", "parameters", "command"}
    for name in names:
        env, uv, run, *command = agents_command(content, name)
        assert (env, uv, run) == ("/usr/bin/env", "uv", "run")
        result = subprocess.run(
            [sys.executable, *command, "--dry_run"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        state, *words = shlex.split(result.stdout)
        assert state == "new"
        assert f"--workdir={tmp_path}/model_comparison/{name}" in words
        assert set(extra) <= set(words)
