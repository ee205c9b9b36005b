"""What docs/extending.md shows runs from a folder outside the repository, by config alone."""

import json
import os
import re
import subprocess
import sys

import pytest

from repository import ROOT

BLOCKS = re.findall(r"```python\n# (my_\w+\.py)\n(.*?)```", (ROOT / "docs" / "extending.md").read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the modules of the page, where its command has trained."""
    folder = tmp_path_factory.mktemp("mine")
    for name, text in BLOCKS:
        (folder / name).write_text(text)
    run(folder, f"{ROOT}/src/train.py", "--config=my_config.py", "--workdir=runs/mine")
    return folder


def run(folder, *command, **environment):
    result = subprocess.run(
        [sys.executable, *command], cwd=folder, env=os.environ | environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_network_rule_and_data_train_by_config_alone(folder):
    workdir = folder / "runs" / "mine"
    config, summary = (json.loads((workdir / f"{name}.json").read_text()) for name in ("config", "summary"))
    assert config["network"]["options"] == {"width": 32}
    assert summary["parameters"] == 64 * 32 + 32 + 32 * 10 + 10
    assert (summary["train_examples"], summary["test_examples"]) == (1500, 297)
    assert summary["last"]["train_accuracy"] > 0.5
    history = [json.loads(line) for line in (workdir / "history.jsonl").read_text().splitlines()]
    variances = {record["epoch"]: record["alignment_variance"] for record in history}
    assert len(variances) == 2
    chosen = summary["rules"][summary["chosen_by"]]
    assert chosen["epoch"] == min(variances, key=variances.get)
    assert (workdir / chosen["checkpoint"]).is_dir()


def test_a_table_of_ones_own(folder):
    table = run(folder, "my_table.py", PYTHONPATH=f"{ROOT}/src")
    accuracy = json.loads((folder / "runs" / "mine" / "summary.json").read_text())["last"]["test_accuracy"]
    assert f"| mine | {100 * accuracy:.1f} |" in table
