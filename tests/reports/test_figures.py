"""Figures: what is drawn is what the records hold, no text lies over another, and drawing again changes nothing."""

import itertools
import shutil

import numpy as np
import pytest
from finished import list_runs, write_run
from matplotlib.text import Text

from reports import paper
from reports.page import draw_runs
from reports.run_figures import draw_kurtosis, draw_run
from reports.style import save_all
from training.run.reader import find_runs, read_run

EPOCHS = 8
RISING = [0.1 * (i + 1) for i in range(EPOCHS)]
SIZES = ("10k", "20k", "50k", "100k")
HUMP = [0.1, 0.2, 0.3, 0.6, 0.5, 0.4, 0.3, 0.2]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with most signals, scores, and estimates of other kinds and at other layers."""
    workdir = tmp_path_factory.mktemp("runs") / "single"
    signals = ("prediction_changes", "gradient_disparity", "train_loss", "sharpness", "val_accuracy", "val_loss")
    estimates = [
        {name: {"gwa": HUMP[i] + shift} for name, shift in (("offline", 0.05), ("full", 1), ("layers/stem", 2))}
        for i in range(EPOCHS)
    ]
    fields = {
        "alignment_mean": RISING,
        "excess_kurtosis": HUMP[::-1],
        "prediction_churn": RISING,
        "estimates": estimates,
    }
    write_run(workdir, test=[*HUMP[1:], 0.1], gwa=HUMP, **fields, **dict.fromkeys(signals, RISING[::-1]))
    scores = np.random.default_rng(0).normal(size=(EPOCHS, 41)).astype(np.float32)
    scores[:, -1] = np.nan  # an image that was skipped
    np.save(workdir / "scores.npy", scores)
    np.savez(workdir / "labels.npz", labels=np.arange(41) % 3, clean_labels=np.arange(41) % 2)
    return read_run(workdir)


@pytest.fixture
def many(tmp_path, monkeypatch):
    """Runs of two sweeps."""
    small = itertools.product(("clean",), ("none",), (0.0, 0.1), (0, 1))
    compared = itertools.product(("convnext", "vit"), SIZES, (0,))
    cells = [dict(zip(("labels", "augmentation", "validation", "seed"), cell, strict=True)) for cell in small]
    cells += [dict(zip(("family", "size", "seed"), cell, strict=True)) for cell in compared]
    list_runs(monkeypatch, cells)
    for seed, validation in itertools.product((0, 1), (0.0, 0.1)):
        fields = {"val_accuracy": RISING, "val_loss": RISING[::-1]} if validation else {}
        folder = tmp_path / "table1_small" / f"clean-none-{validation}-seed{seed}"
        write_run(folder, test=HUMP, gwa=RISING, train_loss=RISING[::-1], **fields)
    for family, (i, size) in itertools.product(("convnext", "vit"), enumerate(SIZES)):
        folder = tmp_path / "model_comparison" / f"{family}-{size}-seed0"
        write_run(folder, test=[0.1, 0.2 + 0.1 * i + 0.01 * i**2], gwa=[0.1, 0.2], alignment_mean=[0.3 + 0.1 * i, 0.1])
    return find_runs(tmp_path)


@pytest.fixture(scope="module")
def of_run(run):
    return draw_run(run)


def panel(figure, title):
    (axes,) = (axes for axes in figure.axes if axes.get_title() == title)
    return axes


def curve(axes, number=0):
    return list(axes.lines[number].get_ydata())


def test_all_figures_of_a_run(of_run):
    assert list(of_run) == [
        "run",
        "signals",
        "alignments",
        "estimators",
        "layers",
        "kurtosis",
    ]


def test_signals_and_choices(of_run):
    figure = of_run["signals"]
    axes = panel(figure, "GWA")
    assert curve(axes) == HUMP
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["max_gwa: 4", "min_then_max_gwa: 4"]
    labels = [text.get_text() for text in panel(figure, "validation loss").get_legend().get_texts()]
    assert labels == ["lowest_validation_loss: 8"]
    # 0.5 of the samples are not fitted in every epoch
    assert curve(panel(figure, "changed predictions per misfit")) == pytest.approx([2 * value for value in RISING])
    labels = [text.get_text() for text in panel(figure, "accuracies").get_legend().get_texts()]
    assert labels[-2:] == ["oracle: 3", "last: 8"]


def test_a_signal_that_was_not_recorded_has_no_panel(of_run):
    titles = [axes.get_title() for axes in of_run["signals"].axes]
    assert "sharpness" in titles
    assert "gradient norm" not in titles


def test_estimators_and_layers(of_run):
    left, right, *_ = of_run["estimators"].axes
    assert curve(left) == HUMP
    assert curve(right) == pytest.approx([-0.05] * EPOCHS)
    layers = of_run["layers"]
    assert curve(panel(layers, "stem")) == pytest.approx([value + 2 for value in HUMP])
    assert curve(panel(layers, "full")) == pytest.approx([value + 1 for value in HUMP])


def test_without_kurtosis_the_rule_chooses_elsewhere(of_run):
    figure = of_run["kurtosis"]
    legends = [axes.get_legend().get_texts()[0].get_text() for axes in figure.axes if axes.get_legend()]
    assert legends == ["maximum after warm-up: 4", "maximum after warm-up: 8"]


def test_heat_map_holds_every_sample(run, of_run):
    figure = of_run["alignments"]
    labels = np.load(run.workdir / "labels.npz")
    wrong = (labels["labels"] != labels["clean_labels"]).sum()
    titles = [axes.get_title() for axes in figure.axes[:2]]
    assert titles == [f"right labels ({41 - wrong})", f"wrong labels ({wrong})"]
    for axes in figure.axes[:2]:
        np.testing.assert_allclose(np.nansum(axes.images[0].get_array().filled(0), axis=0), 100)


def test_run_without_arrays(run, tmp_path):
    shutil.copytree(run.workdir, tmp_path / "copy", ignore=shutil.ignore_patterns("*.np?"))
    assert list(draw_run(read_run(tmp_path / "copy"))) == ["run", "signals", "estimators", "layers", "kurtosis"]


def test_figures_over_many_runs(many):
    figures = draw_runs(many)
    assert list(figures) == ["regret_table1_small", "model_comparison"]
    overall = panel(figures["regret_table1_small"], "overall (4 runs)")
    dots = {
        (round(line.get_xdata()[0], 6), line.get_ydata()[0]) for line in overall.lines if len(line.get_xdata()) == 1
    }
    # max_gwa chooses the last epoch. Over three epochs it has 25 %, and the best one, epoch 5, 50 %.
    assert (25.0, 0) in dots


def test_comparison_stands_beside_the_papers(many):
    figure = draw_runs(many)["model_comparison"]
    accuracies = [20, 31, 44, 59]
    xs = [30, 40, 50, 60]
    pearson = np.corrcoef(xs, accuracies)[0, 1]
    published = paper.FIGURE_3["vit", "cifar10", "pearson"].value
    title = figure.axes[1].get_title()
    assert f"ViT: Pearson {pearson:.2f}, Spearman 1.00" in title
    assert f"the paper: {published:.2f}" in title
    np.testing.assert_allclose(figure.axes[1].collections[0].get_offsets()[:, 1], accuracies)


def test_drawing_again_changes_nothing(run, tmp_path):
    folders = tmp_path / "first", tmp_path / "second"
    first, second = (save_all({"kurtosis": draw_kurtosis(run)}, folder) for folder in folders)
    assert [path.suffix for path in first] == [".png", ".svg"]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


def test_no_legend_lies_over_a_label(of_run):
    for name in ("signals", "estimators", "layers", "kurtosis"):
        of_run[name].draw_without_rendering()
        for axes in of_run[name].axes:
            if legend := axes.get_legend():
                below, label = legend.get_window_extent(), axes.xaxis.label.get_window_extent()
                assert below.height > 0
                assert below.y1 <= label.y0, (name, axes)


def test_fonts_can_be_read(of_run, many):
    for figure in [*of_run.values(), *draw_runs(many).values()]:
        sizes = [text.get_fontsize() for text in figure.findobj(Text)]
        assert min(sizes) >= 8
