"""Results of evaluations, as tables read them from work directories, old and new."""

import json

import pytest

from errors import UserError
from evaluation.results import read_accuracy, read_evaluations

V2 = {"examples": 10, "rules": {"max_gwa": {"epoch": 2, "accuracy": 0.6}, "label_wave": {"epoch": None}}}


def corrupted(severities=(1, 2, 3, 4, 5)):
    chosen = {"epoch": 1, "groups": {"blur": {"1": 0.7, "mean": 0.6}}}
    return {"severities": severities, "rules": {"max_gwa": chosen, "label_wave": {"epoch": None, "groups": None}}}


def write(workdir, **files):
    for name, content in files.items():
        (workdir / f"{name}.json").write_text(json.dumps(content))


@pytest.mark.parametrize("old", [False, True])
def test_accuracies(tmp_path, old):
    assert read_accuracy(tmp_path, "imagenet_v2", "max_gwa") is None
    assert read_accuracy(tmp_path, "cifar10_c", "max_gwa", "blur") is None
    if old:
        write(tmp_path, external={"imagenet_v2": V2}, robustness={"set": "cifar10_c", **corrupted()})
    else:
        write(tmp_path, evaluations={"imagenet_v2": V2, "cifar10_c": corrupted()})
    assert read_accuracy(tmp_path, "imagenet_v2", "max_gwa") == 0.6
    assert read_accuracy(tmp_path, "imagenet_v2", "label_wave") is None
    assert read_accuracy(tmp_path, "imagenet_v2", "best_validation") is None
    assert read_accuracy(tmp_path, "cifar10_c", "max_gwa", "blur", "1") == 0.7
    assert read_accuracy(tmp_path, "cifar10_c", "max_gwa", "blur") == 0.6
    assert read_accuracy(tmp_path, "imagenet_c", "max_gwa", "blur") is None
    assert read_accuracy(tmp_path, "cifar10_c", "best_validation", "blur", "1") is None
    assert read_accuracy(tmp_path, "cifar10_c", "label_wave", "blur", "1") is None


def test_the_mean_is_over_all_five_severities(tmp_path):
    write(tmp_path, evaluations={"cifar10_c": corrupted(severities=[1])})
    assert read_accuracy(tmp_path, "cifar10_c", "max_gwa", "blur") is None
    assert read_accuracy(tmp_path, "cifar10_c", "max_gwa", "blur", "1") == 0.7


def test_a_new_result_replaces_an_old_one(tmp_path):
    write(tmp_path, external={"imagenet_v2": V2, "other": V2}, robustness={"set": "cifar10_c", **corrupted()})
    write(tmp_path, evaluations={"cifar10_c": corrupted([2]), "imagenet_v2": {}})
    assert read_evaluations(tmp_path) == {"cifar10_c": corrupted([2]), "imagenet_v2": {}, "other": V2}


@pytest.mark.parametrize(
    ("test_set", "group", "content", "message"),
    [
        ("imagenet_v2", None, {}, "imagenet_v2 lacks the accuracy of max_gwa"),
        ("imagenet_v2", None, {"rules": 3}, "imagenet_v2 lacks the accuracy of max_gwa"),
        ("imagenet_v2", None, {"rules": {"max_gwa": {"epoch": 1}}}, "imagenet_v2 lacks the accuracy of max_gwa"),
        ("cifar10_c", "noise", corrupted(), "cifar10_c lacks the accuracy of max_gwa on noise"),
        ("cifar10_c", "blur", {"rules": {}}, "cifar10_c lacks the accuracy of max_gwa on blur"),
    ],
)
def test_incomplete_results_are_refused(tmp_path, test_set, group, content, message):
    write(tmp_path, evaluations={test_set: content})
    with pytest.raises(UserError, match=message):
        read_accuracy(tmp_path, test_set, "max_gwa", group)


@pytest.mark.parametrize("name", ["evaluations", "external", "robustness"])
@pytest.mark.parametrize(("text", "message"), [('{"set": ', "is not JSON"), ("[]", "holds no JSON object")])
def test_half_written_files_are_named(tmp_path, name, text, message):
    (tmp_path / f"{name}.json").write_text(text)
    with pytest.raises(UserError, match=rf"{name}\.json {message}"):
        read_evaluations(tmp_path)
    write(tmp_path, robustness={"rules": {}}, external={}, evaluations={})
    with pytest.raises(UserError, match=r"robustness\.json lacks the field set"):
        read_evaluations(tmp_path)
