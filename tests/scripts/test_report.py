"""The page of a run and of several, from the command line."""

import json
import shutil

import pytest
from recorded_runs import write_recorded
from run_scripts import check_refusal, run_script, start_script

from repository import ROOT


@pytest.fixture
def workdir(tmp_path):
    write_recorded(tmp_path / "runs" / "a")
    return tmp_path / "runs" / "a"


def test_the_page_of_a_run_lies_in_its_work_directory(workdir):
    result = start_script("report.py", workdir)
    assert (result.returncode, result.stdout, result.stderr) == (0, f"{workdir / 'report.html'}\n", "")
    assert "<title>a</title>" in (workdir / "report.html").read_text()


def test_the_page_goes_where_the_user_says(workdir, tmp_path):
    path = tmp_path / "pages" / "a.html"
    assert run_script("report.py", workdir, f"--output={path}").stdout == f"{path}\n"
    assert path.exists()
    assert not (workdir / "report.html").exists()


def test_records_are_not_written_over(workdir):
    before = (workdir / "history.jsonl").read_bytes()
    for _ in range(2):
        assert run_script("report.py", workdir, f"--output={workdir / 'report.html'}").returncode == 0
    result = run_script("report.py", workdir, f"--output={workdir / 'history.jsonl'}")
    assert (result.returncode, (workdir / "history.jsonl").read_bytes()) == (2, before)
    assert run_script("report.py", workdir, f"--output={workdir}").returncode == 2
    assert sorted(path.name for path in workdir.parent.iterdir()) == [workdir.name]


@pytest.mark.parametrize("of_a_folder", [False, True])
def test_several_runs_are_compared(workdir, tmp_path, of_a_folder):
    write_recorded(workdir.parent / "b", config={"seed": 1})
    path = tmp_path / "page.html"
    runs = [workdir.parent] if of_a_folder else [workdir, workdir.parent / "b"]
    assert run_script("report.py", *runs, f"--output={path}").stdout == f"{path}\n"
    assert "2 runs" in path.read_text()


def test_an_old_run(tmp_path):
    old_run = shutil.copytree(ROOT / "tests" / "support" / "old_run", tmp_path / "old_run")
    assert run_script("report.py", old_run).returncode == 0
    page = (old_run / "report.html").read_text()
    assert "Keep epoch 3, the last one" in page
    assert page.count("data:image/png") > 100  # scikit-learn brings the digits


def test_an_interrupted_run(workdir):
    (workdir / "summary.json").unlink()
    records = [json.loads(line) for line in (workdir / "history.jsonl").read_text().splitlines()]
    more = {"val_accuracy": None, "test_loss": 1.0, "seconds": 1.0}
    (workdir / "history.jsonl").write_text("".join(json.dumps(record | more) + "\n" for record in records))
    assert run_script("report.py", workdir).returncode == 0
    assert "This run is unfinished, after 4 of 4 epochs." in (workdir / "report.html").read_text()


def test_a_run_without_a_finished_epoch_is_one_line(workdir):
    (workdir / "summary.json").unlink()
    (workdir / "history.jsonl").unlink()
    check_refusal(run_script("report.py", workdir), f"{workdir} holds no finished epoch yet")


def test_a_folder_without_a_run_is_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    check_refusal(run_script("report.py", tmp_path / "empty"), f"{tmp_path / 'empty'} holds no finished run")
    check_refusal(run_script("report.py", tmp_path / "nowhere"), f"there is no folder {tmp_path / 'nowhere'}")


def test_a_page_that_cannot_be_written_is_one_line(workdir):
    (workdir / "report.html").mkdir()
    check_refusal(run_script("report.py", workdir), "report.html")
