"""The rules of a run: what they choose from its history, what the summary says of it, and what is refused."""

from types import SimpleNamespace

import pytest

from configs import base
from errors import UserError
from gwa import RULES, Last, MinThenMaxGWA, Oracle
from gwa.rules import HardDissent
from training import selection as selection_module
from training.selection import Selection, build_rules, find_rule, summarize

WITH_ALL = SimpleNamespace(train=range(100), val=object(), test=object())
WITHOUT = SimpleNamespace(train=range(100), val=None, test=None)


def stopping(**fields):
    config = base.get_config().stopping
    config.update(fields)
    return config


def records(gwa, test):
    count = len(gwa)
    return [
        {
            "epoch": i + 1,
            "progress": (i + 1) / count,
            "gwa": gwa[i],
            "train_accuracy": 0.5,
            "val_accuracy": None,
            "test_accuracy": test[i],
            "test_loss": 1.0,
            "seconds": 2.0,
        }
        for i in range(count)
    ]


HISTORY = records([1.0, 0.2, 0.4, 0.3, 0.35, 0.1], [0.1, 0.5, 0.6, 0.7, 0.2, 0.3])


def test_summary_judges_the_choice():
    selection = Selection(stopping(rules=("max_gwa", "last"), warmup=0.2), WITH_ALL)
    for record in HISTORY:
        selection.update(record)
    config = base.get_config()
    summary = summarize(config, selection.best_epochs, HISTORY, {"parameters": 7})
    assert summary["rules"]["max_gwa"]["epoch"] == 3
    assert summary["rules"]["max_gwa"]["test_accuracy"] == 0.6
    assert summary["rules"]["max_gwa"]["checkpoint"] == "checkpoints/max_gwa/3"
    assert (summary["last"]["epoch"], summary["best_on_test"]["epoch"]) == (6, 4)
    assert (summary["epochs"], summary["planned_epochs"], summary["seconds"]) == (6, config.epochs, 12.0)


def test_nothing_chosen_is_said_so():
    selection = Selection(stopping(), WITHOUT)
    history = records([None, None], [None, None])
    for record in history:
        selection.update(record)
    summary = summarize(base.get_config(), selection.best_epochs, history, {})
    reason = summary["rules"]["max_gwa"].pop("reason")
    assert reason == "gwa is undefined in 2 of 2 epochs (not measured: 2)"
    assert summary["rules"]["max_gwa"] == dict.fromkeys(summary["rules"]["max_gwa"])
    assert summary["best_on_test"]["epoch"] is None


def test_the_reasons_why_nothing_is_chosen_are_counted():
    history = records([None] * 3, [None] * 3)
    for record, reason in zip(history, ("-1.30 + 1.2 is not positive", "-1.4 + 1.2 is not positive", "x"), strict=True):
        record["reasons"] = {"gwa": f"excess kurtosis {reason}"}
    config = base.get_config()
    config.stopping.patience = 2
    reason = summarize(config, {"max_gwa": None}, history, {})["rules"]["max_gwa"]["reason"]
    assert reason == (
        "gwa is undefined in 3 of 3 epochs (excess kurtosis … + 1.2 is not positive: 2; excess kurtosis x: 1), so "
        "stopping.patience=2 never counted"
    )


def test_no_rule_keeps_an_epoch_with_many_alignments_that_are_not_finite():
    selection = Selection(stopping(rules=("last", "oracle"), warmup=0.0), WITH_ALL)
    history = records([0.1, None, None], [0.1, 0.2, 0.3])
    for record, count in zip(history, (0, 1, 2), strict=True):
        record |= {"num_samples": 100, "non_finite_alignments": count}
    assert [selection.update(record)[0] for record in history] == [["last", "oracle"], ["last", "oracle"], []]
    assert selection.best_epochs == {"last": 2, "oracle": 2}
    summary = summarize(base.get_config(), selection.best_epochs, history, {})
    assert (summary["last"]["epoch"], summary["best_on_test"]["epoch"]) == (3, 2)
    del history[1]["num_samples"]  # nothing is known of the share
    assert Oracle().select(history) == 1


@pytest.mark.parametrize("rule", RULES.values())
def test_no_rule_of_ours_keeps_such_an_epoch(rule):
    fields = dict.fromkeys(rule.needs, 1.0) | {"progress": 1.0, "train_accuracy": 0.5}
    history = [fields | {"epoch": epoch} for epoch in range(1, 10)]
    assert rule().select(history) is not None
    assert rule().select(record | {"num_samples": 100, "non_finite_alignments": 2} for record in history) is None
    assert rule().select(record | {"partial": True} for record in history) is None


@pytest.mark.parametrize("name", ["latest", "resume", "damaged", "epochs", "last", "a/b", "", ".hidden"])
def test_a_rule_from_outside_has_a_name_for_a_directory_of_its_own(monkeypatch, name):
    rule = type("Mine", (Last,), {"name": name})
    monkeypatch.setattr(selection_module, "load_object", lambda *_: rule)
    with pytest.raises(UserError, match=r"^stopping\.rules: my_rules:Mine calls itself "):
        find_rule("my_rules:Mine")


def test_parameters_of_rules_come_from_the_config():
    config = stopping(rules=("min_then_max_gwa", "max_bounded_gwa", "hard_dissent"))
    config.min_then_max_gwa.confirm, config.max_bounded_gwa.floor, config.dissent.least = 2, 0.5, 3
    dip, bounded, hard = build_rules(config)
    assert (dip.confirm, bounded.floor, hard.least) == (2, 0.5, 3)
    defaults = build_rules(stopping(rules=tuple(config.rules)))
    assert defaults[0] == MinThenMaxGWA()
    assert [rule.warmup for rule in defaults[1:]] == [0.1, 0.1]
    assert defaults[2] == HardDissent(warmup=0.1)


def test_only_the_first_rule_stops_training():
    impatient = Selection(stopping(rules=("max_gwa", "oracle"), patience=2, warmup=0.2), WITH_ALL)
    assert [impatient.update(record)[1] for record in HISTORY] == [False, False, False, False, True, True]
    patient = Selection(stopping(rules=("last", "max_gwa"), patience=2), WITH_ALL)
    assert not any(patient.update(record)[1] for record in HISTORY)


def test_replay_is_where_the_first_start_stood():
    first, second = (Selection(stopping(patience=2), WITH_ALL) for _ in range(2))
    for record in HISTORY[:4]:
        first.update(record)
    second.replay(HISTORY[:4])
    assert [first.update(record) for record in HISTORY[4:]] == [second.update(record) for record in HISTORY[4:]]


@pytest.mark.parametrize(
    ("fields", "splits", "message"),
    [
        ({"rules": ("best_gwa",)}, WITH_ALL, "no rule 'best_gwa'"),
        ({"rules": ()}, WITH_ALL, "at least one"),
        ({"rules": ("last", "last")}, WITH_ALL, "none twice"),
        ({"rules": ("best_validation",)}, WITHOUT, "dataset.val_fraction"),
        ({"rules": ("last", "oracle")}, WITHOUT, "needs test data"),
        ({"rules": ("oracle",)}, WITH_ALL, "reads test data"),
        ({"patience": -1}, WITH_ALL, "patience must be a whole number of epochs from 1 on, not -1"),
        ({"warmup": 1.5}, WITH_ALL, "warmup"),
    ],
)
def test_mistakes(fields, splits, message):
    with pytest.raises(UserError, match=message):
        Selection(stopping(**fields), splits)
