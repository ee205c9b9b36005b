"""The table of label issues: of finished, interrupted and old runs, and as files that others read."""

import csv
import json
import os

import image_folder
import numpy as np
import pyarrow.parquet
import pytest

from repository import ROOT

import datasets
from configs import base
from datasets.label_csv import escape_name, escape_path
from errors import UserError
from gwa import find_label_issues
from reports.label_table import (
    describe_label_issues,
    find_contradictions,
    tabulate_label_issues,
    write_label_issues,
)


def write_run(workdir, epochs=4, size=400, names=("cat", "dog"), wrong=40, **more):
    """The files of a run that the table reads; the first `wrong` labels are wrong."""
    workdir.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    scores = rng.normal(0.2, 0.05, (epochs, size)).astype(np.float32)
    scores[:, :wrong] -= 0.5
    labels = np.arange(size, dtype=np.int32) % len(names)
    predictions = np.tile(labels, (epochs, 1))
    predictions[:, :wrong] = (labels[:wrong] + 1) % len(names)
    np.save(workdir / "scores.npy", scores)
    np.save(workdir / "predictions.npy", predictions)
    np.savez(workdir / "labels.npz", labels=labels, rows=3 * np.arange(size), class_names=np.array(names), **more)
    record = {"progress": 1.0, "gwa": 0.1, "train_accuracy": 0.5, "test_accuracy": 0.5}
    lines = [json.dumps({"epoch": epoch, **record}) + "\n" for epoch in range(1, epochs + 1)]
    (workdir / "history.jsonl").write_text("".join(lines))
    return workdir


def read_csv(file):
    with open(file, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_columns(tmp_path):
    table = tabulate_label_issues(write_run(tmp_path))
    columns = table.columns
    assert columns["is_label_issue"].tolist() == [True] * 40 + [False] * 360
    assert columns["row"].tolist() == list(range(0, 1200, 3))
    assert columns["given_class"][:3].tolist() == ["cat", "dog", "cat"]
    assert columns["predicted_class"][:3].tolist() == ["dog", "cat", "dog"]
    assert columns["predicted_label"][38:42].tolist() == [1, 0, 0, 1]
    assert (columns["path"] == "").all()
    assert {len(column) for column in columns.values()} == {400}
    assert table.epochs == 4
    assert table.is_wrong is None
    assert columns["rank"][table.list_worst(3)].tolist() == [1, 2, 3]


def test_files_hold_the_columns(tmp_path):
    table = tabulate_label_issues(write_run(tmp_path, names=("=cmd", "dog")))
    files = write_label_issues(table, tmp_path)
    assert [file.name for file in files] == ["label_issues.csv", "label_issues.parquet"]
    parquet = pyarrow.parquet.read_table(files[1])
    assert parquet.column_names == list(table.columns)
    assert parquet.schema.field("is_label_issue").type == "bool"
    lines = read_csv(files[0])
    for name, column in table.columns.items():
        assert parquet[name].to_pylist() == column.tolist()
        text = [line[name] for line in lines]
        if name.endswith("class"):
            assert text == ["'=cmd" if name == "=cmd" else name for name in column]
        else:
            assert text == [str(value) for value in column.tolist()]  # numbers as they are, to the last digit
    assert not list(tmp_path.glob("*.tmp"))


def test_the_same_image_under_two_labels_is_named(tmp_path):
    checksums = np.arange(400, dtype=np.uint32)
    checksums[7], checksums[[11, 13]] = checksums[0], checksums[1]  # cat and dog; three times dog
    write_run(tmp_path, checksums=checksums)
    for feed, count in (("resident", 1), ("stream", 0)):  # there they are the sizes of files
        (tmp_path / "config.json").write_text(json.dumps({"dataset": {"feed": feed}}))
        table = tabulate_label_issues(tmp_path)
        assert [group.tolist() for group in table.contradictions] == [[0, 7]] * count
        lines = [line for line in describe_label_issues(table) if line.startswith("the same image under different")]
        assert (
            lines
            == [
                "the same image under different labels (by checksums): 1, such as 'row 0' and 'row 21'",
            ][:count]
        )


def test_checksums_that_are_equal_by_chance_say_nothing():
    rng = np.random.default_rng(0)
    labels, checksums = rng.integers(0, 10, 300_000), rng.integers(0, 2**32, 300_000, dtype=np.uint32)
    assert len(np.unique(checksums)) < 300_000
    assert find_contradictions(labels, checksums) == []
    assert [group.tolist() for group in find_contradictions(np.array([0, 1]), np.array([5, 5]))] == [[0, 1]]


def test_an_edited_file_is_not_written_over(tmp_path):
    table = tabulate_label_issues(write_run(tmp_path, names=("=cmd", "dog")))
    csv, parquet = write_label_issues(table, tmp_path)
    write_label_issues(table, tmp_path)  # as it was written
    edited = csv.read_text().replace("False", "True", 1)
    csv.write_text(edited)
    with pytest.raises(UserError, match=r"label_issues\.csv has been edited since it was written; rename it"):
        write_label_issues(table, tmp_path)
    assert csv.read_text() == edited
    parquet.unlink()
    with pytest.raises(UserError, match="has been edited"):
        write_label_issues(table, tmp_path)


def test_samples_without_a_score_or_a_prediction(tmp_path):
    write_run(tmp_path)
    scores, predictions = (np.load(tmp_path / f"{name}.npy") for name in ("scores", "predictions"))
    scores[:, 7], predictions[:, 7] = np.nan, -1
    np.save(tmp_path / "scores.npy", scores)
    np.save(tmp_path / "predictions.npy", predictions)
    table = tabulate_label_issues(tmp_path)
    files = write_label_issues(table, tmp_path)
    line = read_csv(files[0])[7]
    assert (line["label_quality"], line["rank"], line["predicted_label"]) == ("", "400", "-1")
    assert (line["predicted_class"], line["is_label_issue"]) == ("", "False")
    assert "  never scored: 1 samples" in describe_label_issues(table)
    assert 7 not in table.list_worst(400)


@pytest.mark.parametrize(
    ("text", "name", "path"),
    [
        ("dog", "dog", "dog"),
        ("=HYPERLINK(0)", "'=HYPERLINK(0)", "./=HYPERLINK(0)"),
        ("+1", "'+1", "./+1"),
        ("-1", "'-1", "./-1"),
        ("@SUM(1)", "'@SUM(1)", "./@SUM(1)"),
        ("\tx", "'\tx", "./\tx"),
        ("a=b", "a=b", "a=b"),
    ],
)
def test_nothing_begins_like_a_formula(text, name, path):
    assert (escape_name(text), escape_path(text)) == (name, path)


def test_paths_of_untrusted_names_lead_to_their_files(tmp_path):
    """Names with quotes, commas, line ends, formulas, and bytes that are no text; and a run trains on what they say."""
    root = image_folder.write(tmp_path / "images", splits=("train",)) / "train"
    (root / "n01").rename(root / "=1+1, 'x'")
    for old, new in ((b"0.jpg", b'a "b"\n,c.jpg'), (b"1.jpg", b"\xff.jpg")):
        folder = os.fsencode(root / "n02")
        os.rename(os.path.join(folder, old), os.path.join(folder, new))
    config = base.get_config().dataset
    config.update({"name": "folder", "feed": "stream", "path": str(root), "image_size": 16})
    splits = datasets.build(config)
    workdir = write_run(tmp_path / "run", size=15, wrong=0, names=splits.class_names, paths=splits.train.paths)
    arrays = dict(np.load(workdir / "labels.npz"))
    np.savez(workdir / "labels.npz", **{**arrays, "labels": splits.train.labels, "rows": splits.train.rows})
    table = tabulate_label_issues(workdir)
    (file, _) = write_label_issues(table, workdir)
    lines = read_csv(file)
    assert lines[0]["path"] == "./=1+1, 'x'/0.jpg"
    assert lines[0]["given_class"] == "'=1+1, 'x'"
    assert [line["path"] for line in lines[5:10]].count('n02/a "b"\n,c.jpg') == 1
    assert [line["path"] for line in lines[5:10]].count("n02/\\xff.jpg") == 1
    readable = [line["path"] for line in lines if "xff" not in line["path"]]
    assert all((root / path).is_file() for path in readable)
    config.labels = str(file)
    assert datasets.build(config).cleaning.changed == 0  # it belongs to this folder, and flags nothing
    assert all(line.isascii() and line.isprintable() for line in describe_label_issues(table))


def test_an_interrupted_run(tmp_path):
    """It was cut off while it wrote the record of its last epoch, whose scores are already there."""
    write_run(tmp_path)
    history = (tmp_path / "history.jsonl").read_text()
    (tmp_path / "history.jsonl").write_text(history[:-20])
    scores, predictions = (np.load(tmp_path / f"{name}.npy") for name in ("scores", "predictions"))
    table = tabulate_label_issues(tmp_path)
    assert table.epochs == 3
    expected = find_label_issues(scores[:3], np.arange(400) % 2, predictions[:3])
    for name in ("label_quality", "is_label_issue", "predicted_label", "rank"):
        assert np.array_equal(table.columns[name], getattr(expected, name))
    (tmp_path / "history.jsonl").write_text(history[:20])
    with pytest.raises(UserError, match="0 finished epochs"):
        tabulate_label_issues(tmp_path)


def test_the_judgement_by_hand(tmp_path):
    """Of 400 labels, the first 40 are suspect; wrong are 30 of them, and one that is the least suspect of all."""
    write_run(tmp_path)
    labels = np.load(tmp_path / "labels.npz")["labels"]
    ranks = tabulate_label_issues(tmp_path).columns["rank"]
    assert sorted(ranks[:40]) == list(range(1, 41))
    wrong = (ranks <= 30) | (ranks == 400)
    write_run(tmp_path, clean_labels=np.where(wrong, 1 - labels, labels))
    lines = "\n".join(describe_label_issues(tabulate_label_issues(tmp_path)))
    assert "40 of 400 labels are suspect, after 4 epochs" in lines
    assert "of the flagged labels, 75.0 % are wrong" in lines
    assert "of the wrong labels, 96.8 % are flagged" in lines  # 30 of 31
    assert "of the first 50, 60.0 % are wrong" in lines
    assert "AUROC of the ranking: 96.8 %" in lines  # 30 precede all 369 right ones, and one precedes none


def test_the_clean_labels_change_nothing(tmp_path):
    one = tabulate_label_issues(write_run(tmp_path / "a"))
    other = tabulate_label_issues(write_run(tmp_path / "b", clean_labels=np.zeros(400, np.int32)))
    for name, column in one.columns.items():
        assert np.array_equal(column, other.columns[name])


def test_a_run_of_the_first_version():
    table = tabulate_label_issues(ROOT / "tests" / "support" / "old_run")
    assert (table.columns["path"] == "").all()
    assert sorted(table.columns["rank"]) == list(range(1, len(table.columns["rank"]) + 1))


@pytest.mark.parametrize("name", ["scores.npy", "predictions.npy", "labels.npz", "history.jsonl"])
@pytest.mark.parametrize("damage", ["missing", "cut", "empty"])
def test_damaged_files_are_one_line(tmp_path, name, damage):
    write_run(tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).unlink()
    if damage != "missing":
        (tmp_path / name).write_bytes(content[:50] if damage == "cut" else b"")
    with pytest.raises(UserError) as error:
        tabulate_label_issues(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert len(str(error.value).splitlines()) == 1
