"""The scripts on hand-made records, and on a work directory that an earlier version has left."""

import json
import shutil

import numpy as np
import pytest
from finished import write_run
from run_scripts import check_refusal, run_script, start_script

from repository import ROOT

from evaluation.results import read_accuracy
from training.run.reader import read_derived, read_run


def choice(epoch, accuracy):
    return {"epoch": epoch, "test_accuracy": accuracy}


@pytest.fixture
def results(tmp_path):
    """Two seeds of one config, and a run of another that chose nothing."""
    runs = (("a", 0, 0.01, choice(2, 0.5)), ("a_seed1", 1, 0.01, choice(3, 0.6)), ("b", 0, 0.1, choice(None, None)))
    for name, seed, rate, chosen in runs:
        workdir = tmp_path / name
        summary = {
            "rules": {"max_gwa": chosen},
            "last": choice(4, 0.4 + 0.02 * seed),
            "best_on_test": choice(1, 0.75),
        }
        write_run(workdir, test=[0.7] * 4, config={"seed": seed, "learning_rate": rate}, summary=summary)
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


def test_the_page_holds_what_has_runs_or_a_paper_counterpart(results):
    page = start_script("tables.py", results).stdout
    assert "- `b`: `uv run src/train.py --config=x.py` (1.5 min on 1 × cpu, 2 cores)" in page
    headings = [line.split(":")[0] for line in page.splitlines() if line.startswith("#")]
    assert headings == ["# Results", "## Single runs", "## Table 1", "## Table 2", "## Table 3", "## Fig. 3"]


def test_formats(results):
    assert table_of(results, "runs", "--format=csv").startswith("table,title,row,column,")
    assert r"\begin{tabular}{llllrrrr}" in table_of(results, "runs", "--format=latex")


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("--table=table9", "'table9'; there are runs, "),
        ("--table=table1", "no finished run for the table table1"),
        ("--table=regret", "no finished run for the table regret"),
        ("--format=excel", "'excel'; there are markdown, csv, latex"),
        ("--tables=runs", "--tables=runs"),
    ],
)
def test_a_mistake_is_one_line(results, option, says):
    check_refusal(run_script("tables.py", results, option), "tables.py: ", says)


@pytest.mark.parametrize("script", ["tables.py", "figures.py", "ablate.py", "estimator_bias.py"])
def test_a_folder_without_runs_is_one_line(tmp_path, script):
    check_refusal(run_script(script, tmp_path / "nowhere"), "nowhere")
    check_refusal(run_script(script, tmp_path), f"{tmp_path} holds no finished run")


def test_a_half_written_record_is_one_line(results):
    path = results / "b" / "history.jsonl"
    path.write_text(path.read_text()[:-20])
    check_refusal(run_script("tables.py", results), str(path), "line 4")


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
    check_refusal(run_script("figures.py", results), f"name a run in it, such as {results / 'a'}")


@pytest.fixture
def old_run(tmp_path):
    """A copy of what the trainer left before fields of the config were renamed: three epochs of digits."""
    return shutil.copytree(ROOT / "tests" / "support" / "old_run", tmp_path / "old_run")


def test_tables_of_an_old_run(old_run):
    rows = [line for line in table_of(old_run.parent, "runs").splitlines() if line.startswith("| `old_run`")]
    assert rows == ["| `old_run` | 1 | 20.5 % | max_gwa | 3 | 45.40 | 45.40 | 45.40 (3) |"]


def test_figures_of_an_old_run(old_run):
    result = run_script("figures.py", old_run)
    assert result.returncode == 0, result.stderr
    names = {path.stem for path in (old_run / "figures").iterdir()}
    assert names == {"run", "signals", "alignments", "estimators", "kurtosis"}


def test_aggregates_and_bias_of_an_old_run(old_run):
    lines = run_script("ablate.py", old_run).stdout.splitlines()
    assert "| GWA, β = 1.2 | 3 | 45.40 (1) |" in lines
    assert json.loads((old_run / "ablation.json").read_text())["last"]["epoch"] == 3
    assert run_script("estimator_bias.py", old_run).stdout.startswith("old_run: |online − start of the epoch| is 0.")
    assert set(read_derived(old_run, "bias.json")) == {"start", "middle"}


def test_evaluations_of_an_old_run(old_run):
    by_severity = [read_accuracy(old_run, "cifar10_c", "max_gwa", "blur", severity) for severity in "12345"]
    assert by_severity == sorted(by_severity, reverse=True)
    assert read_accuracy(old_run, "cifar10_c", "max_gwa", "blur", "mean") == pytest.approx(np.mean(by_severity))
    assert read_accuracy(old_run, "imagenet_v2", "max_gwa") == 0.4


def test_estimates_of_an_old_run(old_run):
    """Its checkpoint gives the alignments that were measured when it was written."""
    result = run_script("estimate.py", old_run, "--estimator=offline")
    assert result.returncode == 0, result.stderr
    estimated = json.loads((old_run / "estimates.json").read_text())["max_gwa"]["estimates"]["offline"]
    recorded = read_run(old_run).history[2]["estimates"]["offline"]
    for field in ("gwa", "alignment_mean", "alignment_variance", "excess_kurtosis"):
        assert estimated[field] == pytest.approx(recorded[field], rel=1e-4), field
