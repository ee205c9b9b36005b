"""The search for wrong labels in a folder: how long it trains, and what there is before it ends."""

import image_folder
import pytest

from configs import find_label_issues
from errors import UserError
from reports import label_search
from reports.label_table import NAME, tabulate_label_issues
from sweeps.definition import configure

SMALL = (
    "--config.dataset.image_size=16",
    "--config.network.depths=(1,)",
    "--config.network.widths=(8,)",
    "--config.augment.pad=1",
)


@pytest.mark.parametrize(
    ("pictures", "epochs"),
    [(30, 100), (640, 60), (1280, 30), (1438, 30), (5000, 30), (10_000, 30), (20_000, 15), (60_000, 10)],
)
def test_the_number_of_steps_is_sensible(pictures, epochs):
    config = find_label_issues.get_config(str(pictures))
    assert config.epochs == epochs
    steps = epochs * -(-pictures // config.batch_size)
    assert epochs == 100 or steps >= 600
    assert epochs == 10 or epochs * pictures <= 300_000


@pytest.mark.parametrize("variant", ["many", "0", "-3"])
def test_a_variant_that_is_no_number_is_refused(variant):
    with pytest.raises(UserError, match="a number of pictures"):
        find_label_issues.get_config(variant)


def test_a_run_is_defined_by_the_folder_and_the_options(tmp_path):
    run = label_search.define_run(image_folder.write(tmp_path / "birds"), ["--config.seed=3"])
    assert (run.name, run.config) == ("birds", "configs/find_label_issues.py:15")
    config = configure(run)
    assert (config.dataset.path, config.seed, config.epochs) == (str(tmp_path / "birds"), 3, 100)
    run = label_search.define_run(tmp_path / "birds", ["--config.epochs=7"])
    assert configure(run).epochs == 7


@pytest.mark.slow
def test_a_first_page_is_there_before_training_ends(tmp_path):
    run = label_search.define_run(image_folder.write(tmp_path / "birds"), [*SMALL, "--config.epochs=100"])
    workdir, seen = tmp_path / "run", []

    def show():
        assert not (workdir / "summary.json").exists()
        table = tabulate_label_issues(workdir)
        files = label_search.write_results(workdir, table)
        seen.append((table.epochs, [file.name for file in files]))

    assert not label_search.is_finished(run, workdir)
    assert label_search.train(run, workdir, False, 0, show) == 0
    assert label_search.is_finished(run, workdir)
    ((epochs, names),) = seen  # once
    assert 0 < epochs <= 100
    assert names == ["report.html", f"{NAME}.csv", f"{NAME}.parquet"]
    assert tabulate_label_issues(workdir).epochs == 100


@pytest.mark.slow
def test_a_mistake_that_only_training_finds_is_its_exit_code(tmp_path, capfd):
    run = label_search.define_run(image_folder.write(tmp_path / "birds"), ["--config.augment.pad=64"])
    assert label_search.train(run, tmp_path / "run", False, 0, lambda: pytest.fail("nothing to show")) == 2
    *_, line = capfd.readouterr().err.splitlines()
    assert line.startswith("train.py: augment.pad is 64")
