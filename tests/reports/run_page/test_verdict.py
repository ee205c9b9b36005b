"""The verdict on hand-written records: each doubt where it is true, and only there."""

import json

import numpy as np
import pytest
from recorded_runs import write_recorded

from reports.label_table import tabulate_label_issues
from reports.run_page.recorded import read_recorded
from reports.run_page.verdict import list_doubts, list_epochs, list_unchecked, state_choice


def choice(epoch, accuracy=None):
    return {"epoch": epoch, "test_accuracy": accuracy}


def write(workdir, chosen=3, epochs=10, summary=None, **fields):
    """Ten epochs, of which max_gwa chose the third; there is no reason to doubt it."""
    test = fields.pop("test", [0.5] * epochs)
    given = {
        "rules": {"max_gwa": choice(chosen, chosen and test[chosen - 1])},
        "last": choice(epochs, test[-1]),
        "best_on_test": choice(None) if test[-1] is None else choice(5, test[4]),
    }
    write_recorded(workdir, test=test, summary=given | (summary or {}), **fields)
    return workdir


def doubts(workdir):
    return list_doubts(read_recorded(workdir), tabulate_label_issues(workdir).issues)


def test_the_sentence_compares_with_the_last_and_the_best_epoch(tmp_path):
    test = [0.1, 0.2, 0.8765, 0.4, 0.9, 0.5, 0.5, 0.5, 0.5, 0.55]
    sentence = state_choice(read_recorded(write(tmp_path / "run", test=test))).replace("\u00a0", " ")
    assert sentence == (
        "Keep epoch 3, which the rule max_gwa chose: test accuracy is 87.65 % there, 55.00 % in the last one (epoch "
        "10) and 90.00 % in the best one (epoch 5)."
    )


def test_the_sentence_without_test_data(tmp_path):
    sentence = state_choice(read_recorded(write(tmp_path / "run", test=[None] * 10)))
    assert sentence == "Keep epoch 3, which the rule max_gwa chose; test accuracy was not measured."


def test_the_sentence_without_a_choice(tmp_path):
    assert state_choice(read_recorded(write(tmp_path / "run", chosen=None))) == "The rule max_gwa chose no epoch."


def test_an_unfinished_run_says_what_its_rules_would_choose(tmp_path):
    gwa = [0.9, 0.1, 0.2, 0.7, 0.3, 0.1, 0.1, 0.1, 0.1, 0.1]
    fields = ("val_accuracy", "test_loss", "seconds")
    workdir = write(tmp_path / "run", gwa=gwa, **{field: [1.0] * 10 for field in fields})
    (workdir / "summary.json").unlink()
    with (workdir / "history.jsonl").open("a") as file:
        file.write('{"epoch": 11, "prog')
    np.save(workdir / "scores.npy", np.zeros((11, 600), np.float32))
    recorded = read_recorded(workdir)
    assert not recorded.is_finished
    assert recorded.choice["epoch"] == 4  # epoch 1 is within the warm-up
    assert recorded.samples.alignments.shape == (10, 600)
    sentence = state_choice(recorded)
    assert sentence.startswith(
        "This run is unfinished, after 10 of 10 epochs. Keep epoch 4, which the rule max_gwa would"
    )


def test_nothing_speaks_against_a_good_run(tmp_path):
    assert doubts(write(tmp_path / "run")) == []


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"train_accuracy": [0.99] * 10}, ("99.0\u00a0%", "epoch 3", "20\u00a0% of the labels look wrong")),
        ({"two_peakedness": [0.9] + [0.1] * 3 + [0.8, 0.9] + [None] * 4}, ("two peaks in epochs 5–6",)),
        ({"two_peakedness": [0.0, 0.0, 0.8] + [0.0] * 7}, ("two peaks in epoch 3", "chosen epoch is one of them")),
        (
            {"gwa": [None] + [0.1] * 9, "reasons": [{"gwa": "all are equal"}] + [None] * 9},
            ("undefined in epoch 1 ", "all are equal"),
        ),
        ({"chosen": 2}, ("Epoch 2 is the first that the rule considers, after its warm-up (epoch 1)",)),
        ({"chosen": 10}, ("Epoch 10 is the last one",)),
        ({"test": [None] * 10}, ("no test set",)),
        ({"summary": {"skipped_count": 1}}, ("1 image could not",)),
        ({"summary": {"skipped_count": 1200}}, ("1,200 images could not",)),
    ],
)
def test_each_doubt_where_it_is_true(tmp_path, changed, says):
    (doubt,) = doubts(write(tmp_path / "run", **changed))
    for part in says:
        assert part in doubt


def test_what_could_not_be_checked_is_named(tmp_path):
    recorded = read_recorded(write(tmp_path / "run", two_peakedness=[0.1] * 10, summary={"skipped_count": 0}))
    assert list_unchecked(recorded, tabulate_label_issues(recorded.run.workdir).issues) == []
    assert list_unchecked(recorded, None) == ["whether wrong labels are fitted"]
    bare = read_recorded(write(tmp_path / "bare", config={"stopping": {"rules": ["gone:Rule"]}}))
    assert len(list_unchecked(bare, None)) == 4


def test_a_high_accuracy_on_clean_labels_is_no_doubt(tmp_path):
    assert doubts(write(tmp_path / "run", wrong=0.0, train_accuracy=[0.999] * 10)) == []
    # About 20 % look wrong and 4 % are not fitted: some of the former are. At 20 % not fitted, none need be.
    assert doubts(write(tmp_path / "noisy", train_accuracy=[0.8] * 10)) == []


def test_the_last_rule_may_choose_the_last_epoch(tmp_path):
    workdir = write(tmp_path / "run", rules=("last",), config={"stopping": {"rules": ["last"]}})
    summary = json.loads((workdir / "summary.json").read_text())
    summary["rules"] = {"last": choice(10, 0.5)}
    (workdir / "summary.json").write_text(json.dumps(summary))
    assert doubts(workdir) == []


def test_a_rule_from_outside_that_is_not_here_does_not_stop_the_page(tmp_path):
    recorded = read_recorded(write(tmp_path / "run", config={"stopping": {"rules": ["gone:Rule"]}}))
    assert recorded.rules == {}
    assert state_choice(recorded).startswith("Keep epoch 3")


@pytest.mark.parametrize(
    ("epochs", "text"),
    [([4], "epoch 4"), ([1, 2, 3], "epochs 1–3"), ([1, 3], "epochs 1 and 3"), ([1, 2, 5, 9], "epochs 1–2, 5 and 9")],
)
def test_epochs_in_words(epochs, text):
    assert list_epochs(epochs) == text
