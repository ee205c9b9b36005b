"""Whole runs on an image folder: what they record, and that being cut off does not change it."""

import image_folder
import numpy as np
import pytest
from small_runs import UNTIMED, cut_off, files

from configs import base
from datasets.feeds.order import shuffle_rows
from errors import UserError
from reports.label_table import tabulate_label_issues, write_label_issues
from training import loop


@pytest.fixture
def config(tmp_path):
    config = base.get_config()
    config.epochs, config.batch_size, config.eval_batch_size = 2, 4, 4
    config.dataset.name, config.dataset.feed = "folder", "stream"
    config.dataset.path = str(image_folder.write(tmp_path / "images"))
    config.dataset.image_size, config.dataset.stream.resize = 16, 20
    config.augment.flip = True
    config.network.update({"name": "convnextv2", "patch_size": 4, "depths": (1,), "widths": (8,)})
    return config


def test_a_run_that_was_cut_off_within_an_epoch_ends_as_one_that_was_not(config, tmp_path):
    """With an image that cannot be decoded, which only the part before the cut has seen."""
    row = shuffle_rows(15, config.seed, epoch=2)[0]
    damaged = tmp_path / "images" / "train" / f"n0{1 + row // 5}" / f"{row % 5}.jpg"
    damaged.write_bytes(b"")
    config.dataset.stream.damaged, config.steps_per_dispatch, config.checkpoint_steps = "skip", 1, 2
    summary = loop.train(config, tmp_path / "whole")
    history, scores, predictions = files(tmp_path / "whole")
    assert summary["skipped_images"] == [str(damaged)]
    assert scores.shape == predictions.shape == (2, 15)
    assert (np.isfinite(scores) == (np.arange(15) != row)).all()
    assert all(record["test_accuracy"] * 15 == pytest.approx(round(record["test_accuracy"] * 15)) for record in history)

    with cut_off(after=6):  # 4 steps are an epoch
        loop.train(config, tmp_path / "parts")
    assert loop.train(config, tmp_path / "parts")["skipped_images"] == [str(damaged)]
    resumed, *arrays = files(tmp_path / "parts")
    for one, other in zip((scores, predictions), arrays, strict=True):
        assert np.array_equal(one, other, equal_nan=True)
    for one, other in zip(history, resumed, strict=True):
        assert one | UNTIMED == other | UNTIMED


def test_a_skipped_image_has_no_score_and_is_listed(config, tmp_path):
    damaged = tmp_path / "images" / "train" / "n02" / "1.jpg"
    damaged.write_bytes(damaged.read_bytes()[:300])
    unreadable = tmp_path / "images" / "test" / "n01" / "4.jpg"
    unreadable.write_bytes(b"")
    with pytest.raises(UserError, match=r"n02/1\.jpg cannot be decoded"):
        loop.train(config, tmp_path / "fail")
    config.dataset.stream.damaged, config.estimators = "skip", ("textbook",)
    summary = loop.train(config, tmp_path / "skip")
    assert summary["skipped_images"] == sorted([str(damaged), str(unreadable)])
    assert summary["skipped_count"] == 2
    history, scores, predictions = files(tmp_path / "skip")
    assert (np.isnan(scores) == (np.arange(15) == 6)).all()
    assert (predictions[:, 6] == -1).all()
    for record in history:
        assert np.isfinite(record["alignment_mean"])
        assert np.isfinite(record["estimates"]["textbook"]["alignment_mean"])
        assert record["test_accuracy"] * 14 == pytest.approx(round(record["test_accuracy"] * 14))
        assert record["train_accuracy"] * 14 == pytest.approx(round(record["train_accuracy"] * 14))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("dataset.feed", "river", r"dataset\.feed is 'river'"),
        ("dataset.image_size", 0, r"dataset\.image_size is 0"),
        ("estimators", ("offline",), r"it can only be textbook"),
        ("augment.crop_area", 0.0, r"augment\.crop_area is 0\.0"),
        ("evaluate", ("imagenet_v2",), r"no further test set 'imagenet_v2'"),
    ],
)
def test_what_cannot_be_is_refused(config, tmp_path, field, value, message):
    config.update_from_flattened_dict({field: value})
    with pytest.raises(UserError, match=message):
        loop.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_names_of_the_files_are_kept_and_clean_the_next_run(config, tmp_path):
    loop.train(config, tmp_path / "first")
    with np.load(tmp_path / "first" / "labels.npz") as arrays:
        paths = [path.decode() for path in arrays["paths"]]
    assert paths == [f"train/{name}/{i}.jpg" for name in image_folder.CLASSES for i in range(5)]
    table = tabulate_label_issues(tmp_path / "first")
    assert table.columns["path"].tolist() == paths
    file, _ = write_label_issues(table, tmp_path / "first")
    text = file.read_text().splitlines()
    text[1:4] = [line.replace("False", "True", 1) for line in text[1:4]]
    file.write_text("\n".join(text))
    config.dataset.labels = str(file)
    summary = loop.train(config, tmp_path / "second")
    assert (summary["train_examples"], summary["test_examples"]) == (12, 15)
    assert files(tmp_path / "second")[1].shape == (2, 12)
    assert tabulate_label_issues(tmp_path / "second").columns["path"].tolist() == paths[3:]
