"""Which cell of a table a run fills: the cells of its sweep, and only with the config that the sweep gives it."""

import json
import shutil

import pytest
from finished import write_run

from errors import UserError
from reports.copies import leave_out_copies
from reports.page import make_tables
from reports.sweep_runs import find_sweep_runs
from sweeps.comparison import MAY_DIFFER
from training.run.reader import find_runs

NAME = "clean-crop_flip-0.1-seed0"


def test_a_run_that_the_sweep_does_not_list_is_refused(tmp_path):
    write_run(tmp_path / "table1_small" / "mine", test=[0.5])
    with pytest.raises(UserError, match=r"table1_small/mine .* configs/sweeps/table1_small\.py"):
        find_sweep_runs(find_runs(tmp_path), "table1_small")


def test_runs_of_a_sweep_have_its_cells_in_its_order(tmp_path):
    for name in ("aggre-none-0.01-seed2", NAME):
        write_run(tmp_path / "table1_small" / name, test=[0.5])
    write_run(tmp_path / "clean-none-0.1-seed0", test=[0.5])
    (first, _), (second, run) = find_sweep_runs(find_runs(tmp_path), "table1_small")
    assert first == {"labels": "clean", "augmentation": "crop_flip", "validation": 0.1, "seed": 0}
    assert second == {"labels": "aggre", "augmentation": "none", "validation": 0.01, "seed": 2}
    assert run.name == "aggre-none-0.01-seed2"


def write_with(folder, change, name=NAME, sweep="table1_small"):
    """A run of the sweep whose config has been changed."""
    write_run(folder / sweep / name, test=[0.5])
    path = folder / sweep / name / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))
    return find_runs(folder)


@pytest.mark.parametrize(
    ("section", "field", "value", "expected"),
    [
        (None, "epochs", 3, "epochs = 3 where .* says 40"),
        (None, "seed", 1, "seed = 1 where .* says 0"),
        ("dataset", "label_key", "worse_label", 'dataset.label_key = "worse_label" where .* says "label"'),
        ("augment", "pad", 0, "augment.pad = 0 where .* says 4"),
        ("network", "widths", [8, 16], r"network.widths = \[8, 16\] where .* says \[64, 128\]"),
        (None, "pretrained", "x.npz", "pretrained = true where .* says false"),
    ],
)
def test_a_run_with_another_config_fills_no_cell(tmp_path, section, field, value, expected):
    runs = write_with(tmp_path, lambda config: (config[section] if section else config).update({field: value}))
    with pytest.raises(UserError, match=rf"{NAME}/config.json has {expected}") as error:
        find_sweep_runs(runs, "table1_small")
    assert "configs/sweeps/table1_small.py" in str(error.value)
    assert "\n" not in str(error.value)


def test_every_field_that_cannot_change_a_result_may_differ(tmp_path):
    def change(config):
        for name in MAY_DIFFER:
            *sections, field = name.split(".")
            holder = config
            for section in sections:
                holder = holder[section]
            assert field in holder
            holder[field] = {**holder[field], "project": "mine"} if isinstance(holder[field], dict) else "other"

    assert len(find_sweep_runs(write_with(tmp_path, change), "table1_small")) == 1


def test_a_field_that_the_run_does_not_have_counts_as_its_default(tmp_path):
    def change(config):
        del config["optimizer"]["accumulation_steps"], config["loss"], config["network"]["compute_dtype"]

    runs = write_with(tmp_path, change)
    assert len(find_sweep_runs(runs, "table1_small")) == 1
    runs = write_with(tmp_path / "b", change, "clean-float32-seed0", "cancellation")
    assert len(find_sweep_runs(runs, "cancellation")) == 1
    runs = write_with(tmp_path / "c", change, "clean-bfloat16-seed0", "cancellation")
    with pytest.raises(UserError, match=r'network\.compute_dtype = "float32" where .* says "bfloat16"'):
        find_sweep_runs(runs, "cancellation")


def test_pretrained_weights_may_lie_elsewhere(tmp_path):
    runs = write_with(tmp_path, lambda config: config.update(pretrained="/data/x.npz"), "imagenet-seed0", "table3")
    assert len(find_sweep_runs(runs, "table3")) == 1


def test_copies_of_a_run_count_once_with_a_word(tmp_path, capsys):
    for seed in (0, 1):
        write_run(tmp_path / f"digits{seed}", test=[0.5 + seed / 10], config={"seed": seed})
    for number in range(5):
        shutil.copytree(tmp_path / "digits1", tmp_path / f"digits1_copy{number}")
    (table,) = make_tables(tmp_path, ["runs"])
    assert [row[1] for row in table.rows] == ["2"]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5
    assert lines[0].startswith(f"{tmp_path}/digits1_copy0 counts once with {tmp_path}/digits1")


def test_a_copy_with_another_seed_in_its_config_is_one_too(tmp_path):
    write_run(tmp_path / "digits", test=[0.5])
    (tmp_path / "digits" / "environment.json").write_text(
        json.dumps({"command": "x", "devices": ["cpu"], "cpu_count": 2, "started": "2026-01-01T00:00:00+00:00"})
    )
    shutil.copytree(tmp_path / "digits", tmp_path / "second")
    path = tmp_path / "second" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"seed": 1}))
    assert [run.name for run in leave_out_copies(find_runs(tmp_path))] == ["digits"]
