"""The scripts on hand-made records: the numbers they show are those that were put in."""

import contextlib
import io
import json
import runpy
import subprocess
import sys
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest

from repository import ROOT


def start_script(name, *arguments):
    """Runs a script as its user does."""
    command = [sys.executable, f"scripts/{name}", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def run_script(name, *arguments):
    """The same within this process, because starting Python takes longer than what the script does."""
    out, err, returncode = io.StringIO(), io.StringIO(), 0
    argv = mock.patch.object(sys, "argv", [f"scripts/{name}", *map(str, arguments)])
    with argv, contextlib.chdir(ROOT), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_path(f"scripts/{name}", run_name="__main__")
        except SystemExit as exit:
            returncode = exit.code
    return SimpleNamespace(returncode=returncode, stdout=out.getvalue(), stderr=err.getvalue())


def choice(epoch, accuracy):
    return {"epoch": epoch, "test_accuracy": accuracy}


@pytest.fixture
def results(tmp_path):
    """Two seeds of one config, and a run of another that chose nothing."""
    runs = (("a", 0, 0.01, choice(2, 0.5)), ("a_seed1", 1, 0.01, choice(3, 0.6)), ("b", 0, 0.1, choice(None, None)))
    for name, seed, rate, chosen in runs:
        workdir = tmp_path / name
        workdir.mkdir()
        files = {
            "config": {"seed": seed, "learning_rate": rate},
            "environment": {
                "command": f"src/train.py --config=x.py --workdir={name}",
                "devices": ["cpu"],
                "cpu_count": 2,
            },
            "summary": {
                "chosen_by": "max_gwa",
                "rules": {"max_gwa": chosen},
                "last": choice(4, 0.4 + 0.02 * seed),
                "best_on_test": choice(1, 0.75),
                "epochs": 4,
                "wrong_label_share": 0.2,
                "seconds": 90.0,
            },
        }
        for file, content in files.items():
            (workdir / f"{file}.json").write_text(json.dumps(content))
        record = {"gwa": 0.1, "train_accuracy": 0.5, "test_accuracy": 0.7}
        lines = [json.dumps(record | {"epoch": epoch, "progress": epoch / 4}) + "\n" for epoch in range(1, 5)]
        (workdir / "history.jsonl").write_text("".join(lines))
        np.save(workdir / "scores.npy", np.random.default_rng(0).random((4, 30)))
        np.savez(workdir / "labels.npz", labels=np.arange(30) % 3, clean_labels=np.arange(30) % 2)
    return tmp_path


def table_of(folder, name, *options):
    result = run_script("tables.py", folder, f"--table={name}", *options)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_table_groups_seeds(results):
    rows = [line for line in table_of(results, "runs").splitlines() if line.startswith("|")]
    assert rows[2] == ("| `a` | 2 | 20.0 % | max_gwa | 2, 3 | 55.00 ± 7.07 | 41.00 ± 1.41 | 75.00 ± 0.00 (1, 1) |")
    assert rows[3] == "| `b` | 1 | 20.0 % | max_gwa | none | not measured | 40.00 | 75.00 (1) |"
    assert len(rows) == 4


def test_table_names_the_commands(results):
    result = run_script("tables.py", results)
    assert "- `b`: `uv run src/train.py --config=x.py` (1.5 min on 1 × cpu, 2 cores)" in result.stdout


def test_the_page_holds_what_has_runs_or_a_paper_counterpart(results):
    page = run_script("tables.py", results).stdout
    headings = [line.split(":")[0] for line in page.splitlines() if line.startswith("#")]
    assert headings == ["# Results", "## Single runs", "## Table 1", "## Table 2", "## Table 3", "## Fig. 3"]


def test_formats(results):
    assert table_of(results, "runs", "--format=csv").startswith("table,title,row,column,")
    assert r"\begin{tabular}{llllrrrr}" in table_of(results, "runs", "--format=latex")


MISTAKES = {
    "--table=table9": "there is no table 'table9'; there are runs, ",
    "--table=table1": "holds no finished run for the table table1",
    "--table=regret": "holds no finished run for the table regret",
    "--format=excel": "there is no format 'excel'; there are markdown, csv, latex",
}


@pytest.mark.parametrize("option", MISTAKES)
def test_a_mistake_is_one_line(results, option):
    result = run_script("tables.py", results, option)
    assert (result.returncode, result.stdout) == (2, "")
    assert MISTAKES[option] in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("script", ["tables.py", "figures.py"])
def test_a_folder_that_does_not_exist_is_one_line(tmp_path, script):
    result = run_script(script, tmp_path / "nowhere")
    assert result.returncode == 2
    assert "nowhere" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_half_written_record_is_one_line(results):
    path = results / "b" / "history.jsonl"
    path.write_text(path.read_text()[:-20])
    result = run_script("tables.py", results)
    assert result.returncode == 2
    assert str(path) in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["a", "b"])
def test_figures_of_a_run_are_drawn(results, name):
    result = run_script("figures.py", results / name)
    assert result.returncode == 0, result.stderr
    folder = results / name / "figures"
    assert {path.stem for path in folder.iterdir()} == {"run", "signals", "alignments", "kurtosis"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in folder.glob("*.png"))
    assert sorted(map(str, folder.iterdir())) == sorted(result.stdout.split())


def test_the_overview_goes_where_the_user_says(results, tmp_path):
    path = tmp_path / "docs" / "digits.png"
    assert start_script("figures.py", results / "a", f"--output={path}").stdout == f"{path}\n"
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_folder_without_a_sweep_is_one_line(results):
    result = run_script("figures.py", results)
    assert result.returncode == 2
    assert "holds no sweep to draw; name a run in it" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("script", ["tables.py", "figures.py"])
def test_no_run_is_one_line(tmp_path, script):
    result = start_script(script, tmp_path)
    assert result.returncode == 2
    assert "holds no finished run" in result.stderr
    assert len(result.stderr.splitlines()) == 1
