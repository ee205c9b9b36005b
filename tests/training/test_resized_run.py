"""Whole runs on an image folder in memory: what they record, and that they continue on the same pictures only."""

import shutil

import image_folder
import numpy as np
import pytest
from small_runs import cut_off, files

from configs import base
from errors import UserError
from reports.label_table import tabulate_label_issues, write_label_issues
from training import loop


@pytest.fixture
def config(tmp_path):
    config = base.get_config()
    config.epochs, config.batch_size, config.eval_batch_size = 2, 4, 4
    config.dataset.update({"name": "folder", "image_size": 16, "path": str(image_folder.write(tmp_path / "images"))})
    config.network.update({"name": "convnextv2", "patch_size": 4, "depths": (1,), "widths": (8,)})
    return config


def test_files_are_kept_and_damaged_ones_listed(config, tmp_path):
    damaged = tmp_path / "images" / "train" / "n02" / "1.jpg"
    damaged.write_bytes(b"")
    with pytest.raises(UserError, match=r"n02/1\.jpg cannot be decoded"):
        loop.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    config.dataset.stream.damaged = "skip"
    summary = loop.train(config, tmp_path / "run")
    assert (summary["skipped_images"], summary["skipped_count"]) == ([str(damaged)], 1)
    assert (summary["train_examples"], summary["test_examples"]) == (14, 15)
    assert summary["wrong_label_share"] is None  # nobody knows
    assert np.isfinite(files(tmp_path / "run")[1]).all()
    table = tabulate_label_issues(tmp_path / "run")
    names = [f"train/{name}/{i}.jpg" for name in image_folder.CLASSES for i in range(5)]
    names.remove("train/n02/1.jpg")
    assert table.columns["path"].tolist() == names
    assert table.columns["row"].tolist() == [row for row in range(15) if row != 6]
    assert table.is_wrong is None
    file, _ = write_label_issues(table, tmp_path / "run")
    text = file.read_text().splitlines()
    text[1:] = [line.replace("True", "False", 1) for line in text[1:]]
    text[6:9] = [line.replace("False", "True", 1) for line in text[6:9]]
    file.write_text("\n".join(text))
    config.dataset.labels = str(file)
    loop.train(config, tmp_path / "cleaned")
    assert tabulate_label_issues(tmp_path / "cleaned").columns["path"].tolist() == names[:5] + names[8:]


def test_an_interrupted_run_does_not_continue_on_other_pictures(config, tmp_path):
    with cut_off(after=4):  # the first epoch
        loop.train(config, tmp_path / "run")
    folder = tmp_path / "images" / "train"
    shutil.move(folder / "n01" / "4.jpg", folder / "n02" / "00.jpg")
    with pytest.raises(UserError, match="the data have changed since the run"):
        loop.train(config, tmp_path / "run")
    shutil.move(folder / "n02" / "00.jpg", folder / "n01" / "5.jpg")
    with pytest.raises(UserError, match="the data have changed since the run"):
        loop.train(config, tmp_path / "run")
    shutil.move(folder / "n01" / "5.jpg", folder / "n01" / "4.jpg")
    assert loop.train(config, tmp_path / "run")["epochs"] == 2
