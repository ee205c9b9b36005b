"""The records of a run: rows that grow in place, lines that parse as strict JSON, and both cut back together."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets import Splits, StreamedExamples
from errors import UserError
from training.run.durable import write_json
from training.run.identity import describe_data
from training.run.json_objects import read_object
from training.run.records import Records, append_row, truncate_rows

SCORES = np.random.default_rng(0).standard_normal((12, 5)).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(dtype=st.sampled_from([np.float32, np.int32, np.uint8]), count=st.integers(1, 130), keep=st.integers(0, 130))
def test_rows_grow_in_place_and_are_cut_back(tmp_path_factory, dtype, count, keep):
    path = tmp_path_factory.mktemp("rows") / "rows.npy"
    rows = np.random.default_rng(count).integers(0, 200, (count, 7)).astype(dtype)
    for i, row in enumerate(rows):
        append_row(path, row)
        if i in (0, 9, 99):  # the header grows by a digit here
            assert np.array_equal(np.load(path), rows[: i + 1])
    keep = min(keep, count)
    truncate_rows(path, keep)
    assert np.array_equal(np.load(path), rows[:keep])
    append_row(path, rows[0])
    assert np.array_equal(np.load(path), [*rows[:keep], rows[0]])


def test_a_row_that_was_cut_off_does_not_count(tmp_path):
    path = tmp_path / "rows.npy"
    for row in SCORES[:3]:
        append_row(path, row)
    with path.open("ab") as file:
        file.write(SCORES[3].tobytes()[:9])  # the process ended here
    assert np.array_equal(np.load(path), SCORES[:3])
    append_row(path, SCORES[4])
    assert np.array_equal(np.load(path), SCORES[[0, 1, 2, 4]])


def test_rows_have_one_length(tmp_path):
    append_row(tmp_path / "rows.npy", SCORES[0])
    with pytest.raises(UserError, match=r"not \(4,\)"):
        append_row(tmp_path / "rows.npy", SCORES[0][:4])


def record(epoch, **fields):
    measured = {
        "progress": epoch / 9,
        "gwa": 0.1 * epoch,
        "train_accuracy": 0.5,
        "test_accuracy": 0.5,
        "val_loss": None,
    }
    return {"epoch": epoch, "val_loss": None} | measured | fields


def samples(epoch):
    return {"alignment": SCORES[epoch], "prediction": np.full(5, epoch)}


def test_history_is_strict_json_and_is_read_back(tmp_path):
    records = Records(tmp_path)
    assert records.last_predictions() is None
    for epoch in (1, 2, 3):
        gwa = math.nan if epoch == 2 else 0.5
        records.append(record(epoch, gwa=gwa, estimates={"offline": {"gwa": gwa}}), samples(epoch))

    def refuse(constant):
        raise AssertionError(constant)

    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    assert [json.loads(line, parse_constant=refuse)["gwa"] for line in lines] == [0.5, None, 0.5]
    again = Records(tmp_path)
    assert again.history == records.history
    assert np.array_equal(again.last_predictions(), np.full(5, 3))


def test_truncation_forgets_all_of_an_epoch(tmp_path):
    records = Records(tmp_path, ("alignment", "prediction", "textbook"))
    for epoch in (1, 2, 3):
        records.append(record(epoch), samples(epoch) | {"textbook": SCORES[epoch] + 1})
    np.save(tmp_path / "mine.npy", SCORES)
    records.truncate(2)
    again = Records(tmp_path)
    assert [line["epoch"] for line in again.history] == [1, 2]
    assert np.array_equal(np.load(tmp_path / "scores.npy"), SCORES[1:3])
    assert np.array_equal(np.load(tmp_path / "scores.textbook.npy"), SCORES[1:3] + 1)
    assert np.array_equal(np.load(tmp_path / "mine.npy"), SCORES)  # what the user has put there
    assert np.array_equal(again.last_predictions(), np.full(5, 2))


def test_half_a_line_is_dropped_and_a_whole_one_without_its_end_is_not(tmp_path):
    records = Records(tmp_path)
    for epoch in (1, 2):
        records.append(record(epoch, estimates={"offline": {"gwa": 0.5}}), samples(epoch))
    path = tmp_path / "history.jsonl"
    text = path.read_text()
    path.write_text(text[:-1])
    assert (len(Records(tmp_path).history), Records(tmp_path).cut_off) == (2, False)
    for end in ("", "\0\0\0"):  # zeros are what a file system may leave when the power fails
        path.write_text(text[:-2] + end)
        assert (len(Records(tmp_path).history), Records(tmp_path).cut_off) == (1, True)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda path: cut_lines(path / "history.jsonl", slice(0, 2)),
            "history.jsonl holds 2 epochs, but the checkpoint",
        ),
        (lambda path: cut_lines(path / "history.jsonl", slice(1, 3)), "line 1, is about epoch 2, not 1"),
        (lambda path: cut_lines(path / "history.jsonl", [0, 1, 1, 2]), "line 3, is about epoch 2, not 3"),
        (lambda path: truncate_rows(path / "scores.npy", 2), "scores.npy holds 2 epochs, but history.jsonl 3"),
        (lambda path: (path / "predictions.npy").write_bytes(b""), "predictions.npy is damaged"),
        (lambda path: (path / "predictions.npy").unlink(), "holds no predictions.npy"),
        (lambda path: (path / "history.jsonl").write_bytes(b"\xff\n"), "history.jsonl is damaged"),
    ],
)
def test_records_that_lack_something_are_refused_and_left_as_they_are(tmp_path, damage, message):
    records = Records(tmp_path)
    for epoch in (1, 2, 3):
        records.append(record(epoch), samples(epoch))
    damage(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UserError, match=message) as error:
        Records(tmp_path).truncate(3)
    assert "\n" not in str(error.value)
    assert before == {path: path.read_bytes() for path in tmp_path.iterdir()}


def cut_lines(path, kept):
    path.write_text("".join(np.array(path.read_text().splitlines(keepends=True))[kept]))


def test_an_array_that_was_cut_off_while_it_was_created_is_created_again(tmp_path):
    for content in (b"", b"\x93NUMPY\x01\x00"):
        (tmp_path / "scores.npy").write_bytes(content)
        records = Records(tmp_path)
        records.truncate(0)
        records.append(record(1), samples(1))
        assert np.array_equal(np.load(tmp_path / "scores.npy"), SCORES[1:2])
        records.truncate(0)


def test_json_is_written_whole_or_not_at_all(tmp_path):
    write_json(tmp_path / "x.json", {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"a": math.nan})
    assert read_object(tmp_path / "x.json") == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_names_of_a_million_files_would_take_a_few_megabytes(tmp_path):
    """100,000 names as ImageNet has them, in less than 8 bytes each."""
    names = [f"train/n{i // 1300:08d}/n{i // 1300:08d}_{7919 * i % 100_003}.JPEG" for i in range(100_000)]
    labels = np.arange(100_000, dtype=np.int32) // 1300
    files = SimpleNamespace(
        paths=lambda rows: np.array([names[row].encode() for row in rows]), name=lambda row: names[row]
    )
    train = StreamedExamples.of(files, labels, 16)
    Records(tmp_path).write_labels(describe_data(Splits(train, None, None, tuple(map(str, range(77))))))
    without = SimpleNamespace(paths=lambda rows: None)
    (tmp_path / "other").mkdir()
    other = Splits(StreamedExamples.of(without, labels, 16), None, None, ("0",))
    Records(tmp_path / "other").write_labels(describe_data(other))
    with np.load(tmp_path / "labels.npz") as arrays, np.load(tmp_path / "other" / "labels.npz") as others:
        assert [name.decode() for name in arrays["paths"]] == names
        assert "paths" not in others
    sizes = [(folder / "labels.npz").stat().st_size for folder in (tmp_path, tmp_path / "other")]
    assert sizes[0] - sizes[1] < 8 * 100_000
