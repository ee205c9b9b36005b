"""Which samples a page shows, what it says of their labels, and their pictures."""

import base64
import io

import numpy as np
import pytest
from PIL import Image
from recorded_runs import CLASSES, write_recorded

from datasets import Examples, Splits
from reports.label_table import tabulate_label_issues
from reports.run_page.gallery import MOST_WORST, OF_EPOCH, WORST, Gallery
from reports.run_page.pictures import SIDE, Pictures, open_pictures
from reports.run_page.recorded import read_recorded
from reports.run_page.suspects import judge_suspects, state_estimate, tabulate_classes


def examples(images, labels=None):
    return Examples.of(images, np.zeros(len(images), int) if labels is None else labels)


def decode(uri):
    header, _, content = uri.partition(",")
    assert header in ("data:image/png;base64", "data:image/webp;base64")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


@pytest.fixture
def recorded(tmp_path):
    write_recorded(tmp_path / "run")
    return read_recorded(tmp_path / "run")


@pytest.fixture
def gallery(recorded):
    table = tabulate_label_issues(recorded.run.workdir)
    return Gallery(recorded.samples.alignments, table, Pictures(None, "none"))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_small_picture_is_the_image(channels):
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 20, channels), dtype=np.uint8)
    shown = decode(Pictures(examples(images)).encode(1))
    np.testing.assert_array_equal(shown.reshape(32, 20, channels), images[1])


def test_a_large_picture_is_shrunk_and_small():
    images = np.random.default_rng(0).integers(0, 256, (1, 200, 300, 3), dtype=np.uint8)
    uri = Pictures(examples(images)).encode(0)
    assert max(decode(uri).shape) == SIDE
    assert len(uri) < 8000


def test_pictures_come_from_memory_only_if_they_are_those_of_the_run(recorded):
    labels, images = recorded.samples.labels, np.zeros((600, 4, 4, 1), np.uint8)
    right, wrong = (Splits(examples(images, each), None, None, CLASSES) for each in (labels, 1 - labels % 2))
    assert open_pictures(recorded, right).examples is right.train
    assert "other rows or labels" in open_pictures(recorded, wrong).missing


def test_data_that_are_not_there_are_named(recorded):
    assert "dataset.name is not set" in open_pictures(recorded, None).missing


def test_the_worst_come_by_rank(gallery, recorded):
    cards = gallery.show_worst()
    assert [card.rank for card in cards[:WORST]] == list(range(1, WORST + 1))
    assert len(cards) <= MOST_WORST
    wrong = recorded.samples.labels != recorded.samples.clean_labels
    assert [card.row in np.flatnonzero(wrong) for card in cards[:50]] == [True] * 50
    for card in cards[:50]:
        assert card.given == CLASSES[recorded.samples.labels[card.row]]
        assert card.suggested == CLASSES[recorded.samples.clean_labels[card.row]]


def test_epochs_show_their_lowest_and_highest_alignments(gallery, recorded):
    groups = {group.title: group.strips for group in gallery.show_epochs()}
    assert list(groups) == ["Epoch 1", "Epoch 2", "Epoch 4"]
    order = np.argsort(recorded.samples.alignments[1])
    lowest, highest = groups["Epoch 2"]
    assert [card.row for card in lowest.cards] == order[:OF_EPOCH].tolist()
    assert [card.row for card in highest.cards] == order[::-1][:OF_EPOCH].tolist()


def test_extremes_belong_to_their_class(gallery, recorded):
    classes = tabulate_classes(recorded, recorded.samples, tabulate_label_issues(recorded.run.workdir).issues)
    groups = gallery.show_classes(classes)
    assert [group.title for group in groups] == [row.name for row in classes]
    mean, spread = (f(np.asarray(recorded.samples.alignments, np.float64), axis=0) for f in (np.mean, np.std))
    for group in groups:
        members = np.flatnonzero(recorded.samples.labels == CLASSES.index(group.title))
        suspicious, ambiguous, easy = ([card.row for card in strip.cards] for strip in group.strips)
        assert easy == members[np.argsort(-mean[members])][:4].tolist()
        assert ambiguous == members[np.argsort(-spread[members])][:4].tolist()
        assert {*suspicious} <= {*members}


def test_skipped_samples_are_in_no_group(tmp_path):
    write_recorded(tmp_path / "run", size=100)
    for name, value in (("scores", np.nan), ("predictions", -1)):
        array = np.load(tmp_path / "run" / f"{name}.npy")
        array[:, 7] = value
        np.save(tmp_path / "run" / f"{name}.npy", array)
    recorded = read_recorded(tmp_path / "run")
    table = tabulate_label_issues(tmp_path / "run")
    gallery = Gallery(recorded.samples.alignments, table, Pictures(None, "none"))
    groups = gallery.show_epochs() + gallery.show_classes(tabulate_classes(recorded, recorded.samples, table.issues))
    rows = {card.row for group in groups for strip in group.strips for card in strip.cards}
    assert 7 not in rows | {card.row for card in gallery.show_worst()}
    assert rows


def test_classes_count_what_is_flagged(recorded):
    issues = tabulate_label_issues(recorded.run.workdir).issues
    labels, clean = recorded.samples.labels, recorded.samples.clean_labels
    for row in tabulate_classes(recorded, recorded.samples, issues):
        label = CLASSES.index(row.name)
        assert row.count == (labels == label).sum()
        assert row.flagged == (issues.is_label_issue & (labels == label)).sum() > 0
        assert row.accuracy == pytest.approx(np.mean(clean[labels == label] == label))
        assert row.pairs == ((CLASSES[(label + 1) % 3], ((labels != clean) & (labels == label)).sum()),)


def test_the_estimate_and_its_judgement_in_words(recorded):
    table = tabulate_label_issues(recorded.run.workdir)
    wrong = 100 * np.mean(recorded.samples.labels != recorded.samples.clean_labels)
    assert f"{table.issues.is_label_issue.sum()} of 600 labels are flagged" in state_estimate(table.issues)
    assert f"{wrong:.1f}\u00a0% of the labels are wrong; so are 100.0\u00a0%" in judge_suspects(table)


def test_without_a_second_peak_nothing_is_counted(tmp_path):
    write_recorded(tmp_path / "run", wrong=0.0)
    assert state_estimate(tabulate_label_issues(tmp_path / "run").issues).startswith("No label is counted as wrong (")
