"""The page as a file: what it holds, how large it is, and that names from users stay text in it."""

import html.parser
import json

import numpy as np
import pytest
from recorded_runs import write_recorded

from configs import digits
from errors import UserError
from reports.run_page.comparison import BEST, LAST, compare_rules, write_comparison
from reports.run_page.page import write_page
from reports.run_page.provenance import describe_time, list_changes
from reports.run_page.recorded import read_recorded

HOSTILE = ("<img src=x onerror=alert(1)>", "</script><script>alert(2)</script>", '"a" & <b>')


class Parsed(html.parser.HTMLParser):
    """The tags of a page with their attributes, its text, and the data of its charts."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.texts, self.charts, self._within = [], [], "", None
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._within = dict(attributes).get("id") if tag == "script" else None

    def handle_data(self, data):
        self.texts.append(data.strip())
        self.charts += data if self._within == "charts" else ""


def test_names_from_users_are_text(tmp_path):
    write_recorded(tmp_path / HOSTILE[0].replace("/", ""), classes=HOSTILE, rules=(HOSTILE[1],))
    (workdir,) = tmp_path.iterdir()
    parsed = Parsed(write_page(workdir))
    assert {*HOSTILE} <= {*parsed.texts}
    assert [tag for tag, _ in parsed.tags if tag in ("img", "b", "alert")] == []
    assert [attributes.get("type") for tag, attributes in parsed.tags if tag == "script"] == [
        *("application/json", "module", "module")
    ]
    charts = json.loads(parsed.charts)
    assert HOSTILE[1] in charts["accuracies"]["layer"][1]["data"]["values"][0]["rules"]


def test_no_tag_leads_out_of_the_page(tmp_path):
    write_recorded(tmp_path / "run")
    for tag, attributes in Parsed(write_page(tmp_path / "run")).tags:
        assert tag not in ("link", "iframe", "object", "base")
        assert attributes.get("src", "data:").startswith("data:")
        assert attributes.get("href", "#").startswith("#")


def test_a_thousand_classes_of_noise_stay_below_five_megabytes(tmp_path):
    rng = np.random.default_rng(0)
    classes = [f"class {i} with a name of some length" for i in range(1000)]
    config = {"dataset": {"name": "arrays", "path": str(tmp_path / "data.npz")}}
    write_recorded(tmp_path / "run", test=[0.5] * 100, size=3000, classes=classes, config=config)
    labels = np.load(tmp_path / "run" / "labels.npz")["labels"]
    images = rng.integers(0, 256, (3000, 64, 64, 3), dtype=np.uint8)  # nothing compresses worse
    np.savez(tmp_path / "data.npz", images=images, labels=labels, class_names=classes)
    path = write_page(tmp_path / "run")
    assert sum(tag == "img" for tag, _ in Parsed(path).tags) > 300
    assert path.stat().st_size < 5e6


@pytest.mark.parametrize("missing", ["scores.npy", "predictions.npy", "labels.npz"])
def test_a_missing_file_is_said_where_it_would_show(tmp_path, missing):
    write_recorded(tmp_path / "run")
    (tmp_path / "run" / missing).unlink()
    parsed = Parsed(write_page(tmp_path / "run"))
    assert any(missing in text for text in parsed.texts)
    sections = {attributes["id"] for tag, attributes in parsed.tags if tag == "section"}
    assert sections == {"verdict", "curves", "alignments", "labels", "classes", "provenance"}


def test_scores_of_another_size_are_refused(tmp_path):
    write_recorded(tmp_path / "run")
    np.save(tmp_path / "run" / "scores.npy", np.zeros((4, 5), np.float32))
    with pytest.raises(UserError, match=r"scores.npy has the shape \(4, 5\); it must be \[4 epochs, 600 samples\]"):
        write_page(tmp_path / "run")


def test_changes_of_the_config_are_those_of_its_file():
    changes = {name: value for name, value, _ in list_changes(json.loads(digits.get_config().to_json_best_effort()))}
    assert changes == {
        **{"batch_size": "64", "steps_per_dispatch": "23", "dataset.name": "digits"},
        **{"dataset.label_noise.kind": "symmetric", "dataset.label_noise.rate": "0.2", "network.name": "convnextv2"},
        **{"network.patch_size": "1", "network.kernel_size": "3", "network.depths": "[2, 2]"},
        **{"network.widths": "[32, 64]", "stopping.rules": '["dissent", "max_gwa", "last"]'},
    }


def test_times_are_added_up_or_not_measured(tmp_path):
    estimates = [{"offline": {"gwa": 0.1, "offline_seconds": 2.0}, "textbook": {"gwa": 0.1}}] * 4
    write_recorded(tmp_path / "run", seconds=[10.0] * 4, sharpness_seconds=[0.5] * 4, estimates=estimates)
    times = dict(describe_time(read_recorded(tmp_path / "run")))
    assert "scripts/benchmark.py step" in times["the score"]
    assert times["in all epochs"] == "40.0 s"
    assert times["the signal sharpness"] == "2.0 s"
    assert times["the estimator offline"] == "8.0 s"
    assert times["the estimator textbook"] == times["of these, training"] == "not measured"


def summary(**accuracies):
    choices = {name: {"epoch": 1, "test_accuracy": accuracy} for name, accuracy in accuracies.items()}
    return {"last": choices.pop("end"), "best_on_test": choices.pop("best"), "rules": choices}


def test_rules_are_compared_within_runs():
    summaries = [
        summary(max_gwa=0.50, dissent=0.53, end=0.4, best=0.6),
        summary(max_gwa=0.80, dissent=0.85, end=None, best=0.9),
        summary(max_gwa=None, dissent=0.99, end=0.1, best=0.2),
        summary(max_gwa=0.70, end=0.6, best=0.8),
    ]
    means = compare_rules(summaries, "max_gwa")
    assert {*means} == {"dissent", LAST, BEST}
    assert (means["dissent"].mean, means["dissent"].n) == (pytest.approx(4), 2)
    assert means["dissent"].error == pytest.approx(1)  # differences 3 and 5: deviation √2, over √2
    assert (means[LAST].mean, means[LAST].n) == (pytest.approx(-10), 2)
    assert (means[BEST].mean, means[BEST].n) == (pytest.approx(10), 3)


def test_a_comparison_shows_every_run_and_what_differs(tmp_path):
    for name, seed in (("a", 0), (HOSTILE[2].replace("/", ""), 1)):
        write_recorded(tmp_path / "runs" / name, config={"seed": seed})
    parsed = Parsed(write_comparison([tmp_path / "runs"], tmp_path / "page.html"))
    assert {"a", HOSTILE[2], "seed", "2 runs"} <= {*parsed.texts}
    assert {*json.loads(parsed.charts)} == {"accuracy-0", "accuracy-1", "gwa-0", "gwa-1"}


def test_the_same_run_twice_is_refused(tmp_path):
    write_recorded(tmp_path / "run")
    with pytest.raises(UserError, match="named twice"):
        write_comparison([tmp_path / "run", tmp_path / "run"], tmp_path / "page.html")
