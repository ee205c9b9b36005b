"""The charts of hand-written runs, as their specifications and as Vega-Lite's own compiler reads them."""

from xml.etree import ElementTree

import numpy as np
import pytest
import vl_convert
from recorded_runs import write_recorded

from reports.run_page.curves import draw_history
from reports.run_page.distributions import BINS, MOST_COLUMNS, choose_epochs, draw_distributions, find_modes
from reports.run_page.recorded import read_recorded

RULES = ["max_gwa", "label_wave", "dissent", "last"]


def draw(workdir, **fields):
    summary = {"rules": {rule: {"epoch": 1 + i, "test_accuracy": 0.5} for i, rule in enumerate(RULES)}}
    write_recorded(workdir, rules=RULES, config={"stopping": {"rules": RULES}}, summary=summary, **fields)
    recorded = read_recorded(workdir)
    return {chart.title: chart for chart in [*draw_history(recorded), draw_distributions(recorded)]}


@pytest.fixture(scope="module")
def charts(tmp_path_factory):
    columns = {"train_loss": [3.0, 2.0, None, 1.0], "val_accuracy": [0.1, 0.2, 0.3, 0.4], "gwa": [0.4, 0.3, 0.2, 0.1]}
    columns |= {"prediction_changes": [None, 9, 8, 7], "dissent": [None, 0.1, 0.3, 0.2], "ema_test_accuracy": [0.5] * 4}
    return draw(tmp_path_factory.mktemp("charts") / "run", **columns)


def rows(chart):
    return chart.spec["data"]["values"]


def test_every_rule_sees_its_signal(charts):
    assert {"Accuracy in %", "Loss", "GWA", "Changed predictions", "Dissent"} < {*charts}
    assert "Mean alignment" not in charts  # these records do not have it


def test_curves_hold_the_records(charts):
    accuracies = {(row["series"], row["epoch"]): row["value"] for row in rows(charts["Accuracy in %"])}
    assert accuracies["validation", 2] == 20
    assert accuracies["test, averaged parameters", 1] == 50
    assert [(row["epoch"], row["step"], row["value"]) for row in rows(charts["Loss"])] == [
        (1, 10, 3.0),
        (2, 20, 2.0),
        (4, 40, 1.0),
    ]


def test_marks_stand_where_the_rules_chose(charts):
    def read(title):
        marks = charts[title].spec["layer"][2]["data"]["values"]
        return [(mark["rules"], mark["epoch"], mark["value"], mark["choice"]) for mark in marks]

    assert read("GWA") == [("max_gwa", 1, 0.4, True)]
    assert read("Dissent") == [("max_gwa", 1, None, True), ("dissent", 3, 0.3, False)]


def test_vega_lite_understands_every_chart(charts):
    for chart in charts.values():
        svg = vl_convert.vegalite_to_svg({**chart.spec, "width": 300})
        assert "NaN" not in svg
        assert svg.count("<path") > 2, chart.title


def test_ticks_stand_at_epochs(charts):
    for chart in charts.values():
        svg = ElementTree.fromstring(vl_convert.vegalite_to_svg({**chart.spec, "width": 300}))
        (axis,) = (each for each in svg.iter() if each.get("aria-label", "").startswith("X-axis"))
        labels = [text for text in axis.itertext() if text.strip()]
        assert labels == ["1", "2", "3", "4"], chart.title


def test_a_run_of_one_epoch_is_drawn_as_points(tmp_path):
    summary = {"rules": {"max_gwa": {"epoch": None, "test_accuracy": None}}}
    write_recorded(tmp_path / "run", test=[0.5], gwa=[None], summary=summary)
    recorded = read_recorded(tmp_path / "run")
    charts = [*draw_history(recorded), draw_distributions(recorded)]
    assert "GWA" not in [chart.title for chart in charts]  # it is defined in no epoch
    for chart in charts:
        assert "NaN" not in vl_convert.vegalite_to_svg({**chart.spec, "width": 300})


def test_the_columns_of_the_heat_map_hold_the_shares_of_their_epochs(charts, tmp_path):
    cells = charts["Alignments of all training samples"].spec["layer"][0]["data"]["values"]
    for epoch in (1, 4):
        assert sum(cell["share"] for cell in cells if cell["epoch"] == epoch) == pytest.approx(1, abs=0.005 * BINS)


@pytest.mark.parametrize(("low", "high", "share"), [(-0.3, 0.2, 0.5), (-0.5, 0.6, 0.9), (0.0, 0.4, 0.15)])
def test_modes_are_those_of_the_mixture(low, high, share):
    rng = np.random.default_rng(0)
    sizes = round(20_000 * share), round(20_000 * (1 - share))
    scores = np.concatenate([rng.normal(low, 0.08, sizes[0]), rng.normal(high, 0.08, sizes[1])])
    counts, edges = np.histogram(scores, BINS)
    assert find_modes(counts, edges) == pytest.approx((low, high), abs=1.5 * (edges[1] - edges[0]))


def test_one_peak_has_no_two_modes():
    assert find_modes(np.array([0, 1, 4, 9, 4, 1, 0]), np.arange(8.0)) is None


def test_two_modes_are_drawn_where_the_records_say_so(tmp_path):
    description = draw(tmp_path / "run", two_peakedness=[0.1, 0.9, 0.9, 0.1])["Alignments of all training samples"]
    assert "2 of the epochs shown have two peaks" in description.description
    (peaks,) = [layer["data"]["values"] for layer in description.spec["layer"][3:4]]
    assert {peak["epoch"] for peak in peaks} == {2, 3}
    assert sorted(peak["value"] for peak in peaks if peak["epoch"] == 2) == pytest.approx([-0.2, 0.2], abs=0.03)


@pytest.mark.parametrize("count", [1, 2, MOST_COLUMNS, 1000])
def test_long_runs_are_thinned_and_keep_the_choice(count):
    epochs = choose_epochs(count, chosen=count // 3 or None)
    assert epochs == sorted({*epochs})
    assert {1, count} <= {*epochs}
    assert count // 3 in {0, *epochs}
    assert len(epochs) <= MOST_COLUMNS + 1
    assert count > MOST_COLUMNS or epochs == list(range(1, count + 1))
