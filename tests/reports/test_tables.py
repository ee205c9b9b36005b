"""Tables: numbers computed by hand from records made by hand, and what is not measured."""

import csv
import io
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from finished import list_runs, write_run
from hypothesis import given
from hypothesis import strategies as st

from errors import UserError
from gwa import RULES
from reports import paper
from reports.judging import Correlation, Difference, Mean, judge
from reports.layout import Cell, Table
from reports.page import TABLES
from reports.regret import format_difference
from reports.rendering import to_csv, to_latex, to_markdown
from training.run.reader import FinishedRun, find_runs

UP = [0.1, 0.2, 0.3, 0.4]


def peak(epoch, low=0.1):
    """GWA, or another field, of four epochs with its maximum in one of them."""
    return [0.9 if i + 1 == epoch else low for i in range(4)]


@pytest.fixture
def small(tmp_path):
    """Runs of table1_small: four of clean labels with crops and flips, two of aggre labels without."""
    folder = tmp_path / "table1_small"
    write_run(folder / "clean-crop_flip-0.0-seed0", test=[0.50, 0.60, 0.70, 0.40], gwa=peak(2))
    write_run(folder / "clean-crop_flip-0.0-seed1", test=[0.50, 0.60, 0.80, 0.40], gwa=peak(3))
    for seed, chosen, validated in ((0, 4, 3), (1, 3, 2)):
        fields = {"gwa": peak(chosen), "val_accuracy": peak(validated), "val_loss": UP[::-1]}
        write_run(folder / f"clean-crop_flip-0.1-seed{seed}", test=[0.50, 0.60, 0.65, 0.55], **fields)
    write_run(folder / "aggre-none-0.0-seed0", test=[0.30, 0.20, 0.40, 0.10], gwa=peak(2))
    write_run(folder / "aggre-none-0.0-seed1", test=[0.30, 0.20, 0.40, 0.10], gwa=[None] * 4)
    return tmp_path


def entry(tables, row, column, title=""):
    """The cell of a table by its labels."""
    (table,) = (table for table in tables if title in table.title)
    (line,) = (line for line in table.rows if row in ", ".join(line[: table.labels]))
    return line[table.columns.index(column)]


def test_small_table(small):
    tables = TABLES["table1_small"](find_runs(small))
    cell = entry(tables, "GWA (`max_gwa`)", "clean labels, crops and flips")
    assert cell.ours.mean == pytest.approx(70.0)  # 60 and 80; runs with validation data are another row's
    assert cell.ours.n == 2
    assert cell.ours.error == pytest.approx(10.0)  # (80 − 60) / √2 / √2
    cell = entry(tables, "validation 10 % (`best_validation`)", "clean labels, crops and flips")
    assert (cell.ours.mean, cell.ours.n) == (pytest.approx(62.5), 2)
    assert entry(tables, "`last`", "clean labels, crops and flips").ours.mean == pytest.approx(40.0)
    assert entry(tables, "`oracle`", "clean labels, crops and flips").ours.mean == pytest.approx(75.0)
    assert entry(tables, "`max_gwa`", "paper's ViT, 9 % wrong") == Cell(
        paper=paper.TABLE_1["vit", "max_gwa", 0, "aggre"]
    )
    missing = entry(tables, "validation 1 % (`best_validation`)", "17 % wrong, no augmentation")
    assert missing.ours is None
    assert "`uv run scripts/sweep.py configs/sweeps/table1_small.py --only='random1-none-0.01-*'`" in missing.note


def test_a_rule_that_chose_nothing_is_marked(small):
    runs = find_runs(small)
    cell = entry(TABLES["table1_small"](runs), "`max_gwa`", "9 % wrong, no augmentation")
    assert (cell.ours.n, cell.note) == (1, "chose an epoch in 1 of 2 runs, and is judged by those alone")
    cell = entry(TABLES["regret"](runs), "`max_gwa`", "aggre, none", "by condition")
    assert cell.ours.n == 1
    assert "chose an epoch in 1 of 2 runs" in cell.note


def test_regret(small):
    tables = TABLES["regret"](find_runs(small))
    # The clean runs lose 10, 0, 10 and 0, the one with wrong labels in which it chose an epoch 20.
    cell = entry(tables, "`max_gwa`", "raw", "Rules on")
    assert (cell.ours.mean, cell.ours.n) == (pytest.approx(8.0), 5)
    assert cell.ours.error == pytest.approx(scipy.stats.sem([10.0, 0.0, 10.0, 0.0, 20.0]))
    cell = entry(tables, "`best_validation`", "raw", "Rules on")
    assert (cell.ours.mean, cell.ours.n, cell.note) == (pytest.approx(2.5), 2, "")
    assert entry(tables, "`best_validation`", "aggre, none", "by condition") == Cell()
    assert entry(tables, "`oracle`", "raw", "Rules on").ours == (0.0, 0.0, 6)
    assert entry(tables, "`last`", "epoch", "Rules on").ours == (4.0, 0.0, 6)
    # Smoothed, GWA loses 0, 10/3, 0 and 0 in the clean runs, and nothing in the run with wrong labels.
    assert entry(tables, "`max_gwa`", "worst condition", "Rules on") == "0.83 (clean, crop_flip, n = 4)"
    assert entry(tables, "`max_gwa`", "cross-fitted", "Rules on") == Cell()  # the halves were not recorded


def test_paired_differences_are_of_the_runs_in_which_both_chose(tmp_path, monkeypatch):
    names = list_runs(monkeypatch, [{"noise": "clean", "validation": 0.1, "seed": seed} for seed in range(8)])
    for seed, name in enumerate(names):
        # GWA keeps epoch 2; the end loses 0 to 7 points against it.
        gwa = [0.1, 0.3, 0.2] if seed < 7 else [None] * 3
        write_run(tmp_path / "fashion_mnist" / name, [0.5, 0.5, 0.5 - seed / 100], gwa=gwa)
    tables = TABLES["regret"](find_runs(tmp_path))
    smooth = [100 * (0.5 - (0.5 + 0.5 - seed / 100) / 2) - 100 * seed / 300 for seed in range(7)]
    expected = Difference.of(smooth)
    assert entry(tables, "`last`", "minus `max_gwa`", "against") == format_difference(expected)
    assert entry(tables, "`last`", "minus `last`", "against") == "–"


def test_a_difference_against_scipy():
    values = np.random.default_rng(0).normal(0.5, 1.0, 40).tolist()
    difference = Difference.of(values)
    low, high = scipy.stats.t.interval(0.95, 39, np.mean(values), scipy.stats.sem(values))
    assert difference.mean == pytest.approx(np.mean(values))
    assert (difference.low, difference.high) == (pytest.approx(low, abs=0.05), pytest.approx(high, abs=0.05))
    assert difference.p == pytest.approx(scipy.stats.ttest_1samp(values, 0).pvalue, abs=0.01)


def test_differences_from_which_nothing_follows():
    assert Difference.of([1.0] * 5) is None
    assert format_difference(Difference.of([0.0] * 6)) == "always +0.00 (6)"


def test_six_differences_of_one_sign_reach_the_smallest_p_there_is():
    assert Difference.of([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]).p == pytest.approx(2 / 2**6)


def test_cross_fitted_regret_by_hand():
    """On even rows epoch 1 is best, on odd ones the end."""
    even, odd = [0.8, 0.6, 0.5], [0.6, 0.6, 0.7]
    history = [
        {"epoch": i + 1, "test_accuracy": 0.6, "test_accuracy_even": even[i], "test_accuracy_odd": odd[i]}
        for i in range(3)
    ]
    judgement = judge(FinishedRun(Path("a"), None, {}, {}, {}, history), "last")
    # Epoch 1 has 0.6 on odd rows, where the end has 0.7. The end is what is best on odd rows.
    assert judgement.cross_fitted_regret == pytest.approx((-10 + 0) / 2)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(-1, 1) | st.none()), min_size=1, max_size=12),
    st.sampled_from(["max_gwa", "last", "oracle", "min_then_max_gwa"]),
)
def test_regret_is_never_negative(epochs, rule):
    history = [
        {"epoch": i + 1, "progress": (i + 1) / len(epochs), "gwa": gwa, "test_accuracy": test}
        for i, (test, gwa) in enumerate(epochs)
    ]
    judgement = judge(FinishedRun(Path("a"), None, {}, {}, {}, history), rule)
    if judgement is None:
        assert RULES[rule]().select(history) is None
    else:
        assert judgement.regret >= 0
        assert judgement.accuracy + judgement.regret == pytest.approx(100 * max(test for test, _ in epochs))
        assert judgement.regret == 0 or rule != "oracle"
        assert judgement.smoothed_regret >= 0


def test_smoothed_regret_by_hand():
    """Means over three epochs, two at the ends: 50, 60, 50, 40, 20. The highest GWA is in epoch 4."""
    history = [
        {"epoch": i, "progress": i / 5, "gwa": gwa, "test_accuracy": test}
        for i, (test, gwa) in enumerate([(0.4, 0.1), (0.6, 0.2), (0.8, 0.3), (0.1, 0.4), (0.3, 0.2)], start=1)
    ]
    judgement = judge(FinishedRun(Path("a"), None, {}, {}, {}, history), "max_gwa")
    assert judgement.epoch == 4
    assert judgement.regret == pytest.approx(70)
    assert judgement.smoothed_regret == pytest.approx(60 - 40)


def test_averages_gain_what_the_records_say(tmp_path, monkeypatch):
    names = list_runs(monkeypatch, [{"noise": "clean", "validation": 0.1, "seed": seed} for seed in range(7)])
    for seed, name in enumerate(names):
        averaged = [0.5 + seed / 100, 0.6 + seed / 100, 0.7] if seed < 6 else [None] * 3
        write_run(tmp_path / "fashion_mnist" / name, [0.5, 0.6, 0.4], gwa=[0.3, 0.2, 0.1], ema_test_accuracy=averaged)
    (table,) = TABLES["averages"](find_runs(tmp_path))
    assert entry([table], "`max_gwa`", "same epoch").startswith("+2.50 [")  # 0 to 5 points; the last run has no average
    assert entry([table], "`max_gwa`", "one epoch later").startswith("+12.50 [")
    assert entry([table], "`max_gwa`", "against the end").startswith("+22.50 [")
    assert entry([table], "`last`", "one epoch later") == "always +30.00 (6)"


def test_retraining_is_compared_in_the_conditions_that_have_all_three_runs(tmp_path):
    for labels in ("clean", "aggre", "random1", "worse", "symmetric40", "asymmetric40"):
        held_out = {"gwa": [0.1, 0.2], "val_loss": [0.1, 0.2], "val_accuracy": [0.5, 0.5]}
        write_run(tmp_path / "regimes" / f"{labels}-none-0.1-seed0", [0.55, 0.45], **held_out)
        write_run(tmp_path / "retrained" / f"retrained-{labels}-none-seed0", [0.1, 0.6])
        averaged = [0.5, 0.75]
        fields = {"gwa": [0.2, 0.1], "dissent": [None, 0.1], "ema_test_accuracy": averaged}
        write_run(tmp_path / "retrained" / f"all-{labels}-none-seed0", [0.7, 0.5], **fields)
    write_run(tmp_path / "retrained" / "all-clean-none-seed1", [0.9, 0.9])
    (table,) = TABLES["retrained"](find_runs(tmp_path))
    rows = {row[:2]: row[2:] for row in table.rows}
    accuracy, difference, _ = rows["a tenth held out", "`lowest_validation_loss`"]
    assert accuracy.ours == (pytest.approx(55), 0, 6)
    assert difference == "always −5.00 (6)"
    assert rows["retrained", "`last`"][1] == "–"
    assert rows["all", "`max_gwa`"][1] == "always +10.00 (6)"
    assert rows["all", "`max_gwa`, averaged"][1] == "always +15.00 (6)"


@given(st.lists(st.floats(-100, 100), min_size=2))
def test_mean_against_scipy(values):
    mean = Mean.of(values)
    assert mean.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert mean.deviation == pytest.approx(np.std(values, ddof=1), abs=1e-6)
    assert mean.error == pytest.approx(scipy.stats.sem(values), abs=1e-6)


def test_one_value_has_no_spread():
    assert Mean.of([3.0]) == (3.0, None, 1)
    assert Mean.of([3.0]).error is None
    assert Mean.of([]) is None


def test_correlation_by_hand():
    xs, ys = [1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 10.0]
    pearson, spearman, n = Correlation.of(xs, ys)
    assert pearson == pytest.approx(13 / math.sqrt(5 * 50))  # Σxy, Σx², Σy² about the means 2.5 and 4
    assert spearman == pytest.approx(1 - 6 * 2 / (4 * 15))  # ranks 1 3 2 4
    assert n == 4
    assert Correlation.of(xs[:2], ys[:2]) is None
    assert Correlation.of(xs, [1.0] * 4) is None


def test_paper_values_stand_beside_ours_only_as_the_papers():
    for values in (paper.TABLE_1, paper.TABLE_2, paper.TABLE_3, paper.FIGURE_3, paper.ESTIMATOR_BIAS):
        assert all("of the paper (second-hand)" in published.source for published in values.values())
    assert paper.TABLE_1["vit", "max_gwa", 0.0, "clean"].value == 81.57
    assert paper.TABLE_1["convnext", "max_gwa", 0.0, "random1"].value == 82.55
    assert paper.TABLE_2["imagenet_c", "max_gwa", 0.0, "noise"].value == 63.36  # 62.43 + 0.93
    assert ("convnext", "max_gwa", 0.0, "imagenet") not in paper.TABLE_1


@pytest.mark.parametrize("name", ["table1", "table2", "table3", "model_comparison"])
def test_a_table_of_the_paper_is_there_without_runs(small, name):
    tables = TABLES[name](find_runs(small))
    cells = [cell for table in tables for row in table.rows for cell in row if isinstance(cell, Cell)]
    assert not any(table.measured for table in tables)
    assert all(cell.note for cell in cells)
    assert any(cell.paper for cell in cells)


def test_table1_beside_the_papers(tmp_path, monkeypatch):
    cells = [{"network": "vit", "labels": "clean", "validation": 0.0, "seed": seed} for seed in (0, 1)]
    for name, accuracy in zip(list_runs(monkeypatch, cells), (0.80, 0.84), strict=True):
        write_run(tmp_path / "table1" / name, test=[0.5, accuracy], gwa=[0.1, 0.2])
    (table,) = TABLES["table1"](find_runs(tmp_path))
    cell = entry([table], "ViT, GWA (`max_gwa`)", "CIFAR-10")
    assert (cell.ours.mean, cell.ours.n) == (pytest.approx(82.0), 2)
    assert cell.ours.deviation == pytest.approx(2 * math.sqrt(2))
    assert cell.difference == pytest.approx(82.0 - 81.57)
    assert entry([table], "ViT, validation 10 %, clean labels (`best_validation`)", "17 % wrong").paper.value == 75.23
    missing = entry([table], "ConvNeXt, GWA (`max_gwa`)", "17 % wrong")
    assert missing.paper.value == 82.55
    assert "configs/sweeps/table1.py --only='convnext-random1-0.0-*'" in missing.note
    elsewhere = entry([table], "ViT, GWA (`max_gwa`)", "ImageNet-V2").note
    assert "configs/sweeps/table1.py:imagenet --only='vit-0.0-*'" in elsewhere


@pytest.mark.parametrize(
    ("table", "sweep", "row", "column", "published"),
    [
        ("table1", "table1_imagenet", "ViT, GWA (`max_gwa`)", "ImageNet-V2", 60.53),
        ("table3", "table3", "(`min_then_max_gwa`)", "ImageNet-V2", 74.32),
    ],
)
def test_further_sets_beside_the_papers(tmp_path, monkeypatch, table, sweep, row, column, published):
    cell = {"network": "vit", "validation": 0.0} if table == "table1" else {"data": "imagenet"}
    names = list_runs(monkeypatch, [{**cell, "seed": seed} for seed in (0, 1)])
    for name in names:
        write_run(tmp_path / sweep / name, test=[0.5, 0.7], gwa=[0.1, 0.2])
    (made,) = TABLES[table](find_runs(tmp_path))
    missing = entry([made], row, column).note
    assert missing.startswith(f"not evaluated: `uv run scripts/evaluate.py runs/{sweep}/{names[0]} --on=imagenet_v2")
    rule = re.search("`(.*)`", row)[1]
    for name, accuracy in zip(names, (0.60, 0.64), strict=True):
        evaluation = {"imagenet_v2": {"examples": 10, "rules": {rule: {"epoch": 2, "accuracy": accuracy}}}}
        (tmp_path / sweep / name / "external.json").write_text(json.dumps(evaluation))
    (made,) = TABLES[table](find_runs(tmp_path))
    cell = entry([made], row, column)
    assert (cell.ours.mean, cell.ours.n, cell.paper.value) == (pytest.approx(62.0), 2, published)
    (tmp_path / sweep / names[0] / "external.json").write_text('{"imagenet_v2": {}}')
    with pytest.raises(UserError, match="imagenet_v2 lacks the accuracy of"):
        TABLES[table](find_runs(tmp_path))


def test_table2_beside_the_papers(tmp_path, monkeypatch):
    cells = [{"network": "vit", "validation": validation, "seed": 0} for validation in (0.0, 0.1)]
    names = list_runs(monkeypatch, cells)
    for name in names:
        write_run(tmp_path / "table2" / name, test=[0.8])
    by_severity = {str(severity): 0.9 - 0.1 * severity for severity in range(1, 6)} | {"mean": 0.6}
    groups = dict.fromkeys(paper.GROUPS, by_severity)
    robustness = {
        "set": "cifar10_c",
        "severities": [1, 2, 3, 4, 5],
        "rules": {"max_gwa": {"epoch": 1, "groups": groups}},
    }
    (tmp_path / "table2" / names[0] / "robustness.json").write_text(json.dumps(robustness))
    means, severities = TABLES["table2"](find_runs(tmp_path))
    cell = entry([means], "CIFAR-10-C, GWA", "blur")
    assert (cell.ours.mean, cell.paper.value) == (pytest.approx(60.0), pytest.approx(81.71))
    assert entry([severities], "blur, GWA", "severity 5").ours.mean == pytest.approx(40.0)
    assert "not evaluated: `uv run scripts/evaluate.py" in entry([means], "CIFAR-10-C, validation 10 %", "noise").note
    assert "--only='vit-0.01-*'" in entry([means], "CIFAR-10-C, validation 1 %", "noise").note
    imagenet = entry([means], "ImageNet-C, GWA", "noise")
    assert imagenet.paper.value == 63.36
    assert "table1.py:imagenet --only='vit-0.0-*'" in imagenet.note


def test_model_comparison_beside_the_papers(tmp_path, monkeypatch):
    cells = [{"family": "vit", "size": size, "seed": 0} for size in ("10k", "20k", "50k")]
    alignments, accuracies = [0.2, 0.3, 0.5], [0.4, 0.6, 0.5]
    for name, alignment, accuracy in zip(list_runs(monkeypatch, cells), alignments, accuracies, strict=True):
        write_run(
            tmp_path / "model_comparison" / name, test=[0.1, accuracy], alignment_mean=[alignment, None], gwa=[0, 1]
        )
    (table,) = TABLES["model_comparison"](find_runs(tmp_path))
    cell = entry([table], "ViT", "CIFAR-10, Pearson")
    assert (cell.ours.mean, cell.ours.n) == (pytest.approx(np.corrcoef(alignments, accuracies)[0, 1]), 3)
    assert entry([table], "ViT", "CIFAR-10, Spearman").ours.mean == pytest.approx(0.5)
    assert entry([table], "ConvNeXt", "CIFAR-10, Spearman").ours is None


NOTE = "not run: `uv run x.py --only='a_b-*'`"

EXAMPLE = Table(
    "example",
    "Example",
    "Shares of 100 %.",
    ("rule", "x", "y"),
    (
        ("`max_gwa`", Cell(Mean(80.0, 2.0, 4), paper.Published(81.5, "Table 1")), Cell(note=NOTE)),
        ("`last`", Cell(Mean(-0.5, None, 1)), Cell(paper=paper.Published(7.0, "Table 1"), note=NOTE)),
    ),
)


def test_markdown():
    assert to_markdown([EXAMPLE]).splitlines()[4:] == [
        "| rule | x | y |",
        "|---|---|---|",
        "| `max_gwa` | 80.00 ± 2.00 (4) [81.50, −1.50] | –<sup>1</sup> |",
        "| `last` | −0.50 (1) | –<sup>1</sup> [7.00] |",
        "",
        "1. not run: `uv run x.py --only='a_b-*'`",
    ]


def test_csv():
    rows = list(csv.DictReader(io.StringIO(to_csv([EXAMPLE]))))
    assert len(rows) == 4
    first = rows[0]
    assert (first["row"], first["column"]) == ("max_gwa", "x")
    numbers = [
        float(first[name]) for name in ("mean", "standard_deviation", "standard_error", "n", "paper", "difference")
    ]
    assert numbers == [80.0, 2.0, 1.0, 4, 81.5, -1.5]
    assert rows[1]["mean"] == ""
    assert rows[1]["note"] == "not run: uv run x.py --only='a_b-*'"
    assert rows[3]["paper"] == "7.0"


def test_latex():
    text = to_latex([EXAMPLE])
    assert r"\texttt{max\_gwa} & 80.00 $\pm$ 2.00 (4) [81.50, $-$1.50] & --$^{1}$ \\" in text
    assert r"\caption{Example. Shares of 100 \%.}" in text
    assert not re.search(r"(?<!\\)[%_#]", text.replace(r"\texttt", ""))


def test_runs_in_bfloat16_are_rows_of_their_own_and_few_runs_are_not_compared():
    results = Path(__file__).parents[2] / "results"
    summary = json.loads((results / "table1_bfloat16" / "convnext-clean-0.0-seed0" / "summary.json").read_text())
    runs = [run for run in find_runs(results) if run.sweep in ("table1", "table1_bfloat16")]
    (table,) = TABLES["table1"]([run for run in runs if run.sweep == "table1_bfloat16"])
    (row,) = [row for row in table.rows if row[:2] == ("ConvNeXt, bfloat16", "GWA (`max_gwa`)")]
    clean = row[table.columns.index("CIFAR-10")]
    assert clean.ours.n == 1
    assert clean.ours.mean == pytest.approx(100 * summary["rules"]["max_gwa"]["test_accuracy"])
    assert not any(cell.ours for cell in row[3:])
    assert not any(cell.ours for line in table.rows if "bfloat16" not in line[0] for cell in line[2:])
    one, two = ([run for run in runs if run.workdir.parent.name == "table1"][:count] for count in (1, 2))
    assert [table.title for table in TABLES["regret"](one)] == ["Rules on CIFAR-10, validation labels clean"]
    assert [table.title.split(" on ")[0] for table in TABLES["regret"](two)] == [
        "Rules",
        "Smoothed regret by condition",
    ]
