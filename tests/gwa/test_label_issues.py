"""Label issues: planted ones are found, and where there are none, or nothing to see, nothing is flagged."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gwa import find_label_issues
from gwa.label_issues import aggregate_alignment
from gwa.rules.dissent import vote


def plant(share=0.1, size=2000, epochs=6, classes=10, seed=0, drop=0.4):
    """Alignments of a run: some classes higher than others, wrong labels lower by `drop`."""
    rng = np.random.default_rng(seed)
    labels, wrong = rng.integers(0, classes, size), rng.random(size) < share
    alignment = rng.normal(0.2, 0.05, (epochs, size)) + rng.normal(0, 0.05, size) + 0.02 * labels[None]
    return (alignment - drop * wrong[None]).astype(np.float32), labels, wrong


@pytest.mark.parametrize("share", [0.02, 0.1, 0.4])
@pytest.mark.parametrize("seed", range(3))
def test_planted_wrong_labels_are_found(share, seed):
    alignment, labels, wrong = plant(share, seed=seed)
    issues = find_label_issues(alignment, labels)
    assert issues.reason is None
    assert np.mean(issues.is_label_issue == wrong) > 0.995
    assert issues.issue_share == pytest.approx(wrong.mean(), abs=0.005)
    assert np.array_equal(issues.is_label_issue, issues.label_quality < issues.threshold)
    assert set(np.argsort(issues.rank)[: wrong.sum() // 2]) <= set(np.flatnonzero(wrong))


@pytest.mark.parametrize("share", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(10))
def test_all_right_and_all_wrong_labels_look_alike_and_none_is_flagged(share, seed):
    alignment, labels, _ = plant(share, seed=seed)
    issues = find_label_issues(alignment, labels)
    assert not issues.is_label_issue.any()
    assert "one peak" in issues.reason
    assert np.isnan([issues.threshold, issues.issue_share, issues.issue_share_error]).all()
    assert sorted(issues.rank) == list(range(1, len(labels) + 1))


def test_a_tail_of_hard_samples_is_no_second_group():
    """Right labels of hard samples: lower, and more and more rarely so."""
    rng = np.random.default_rng(0)
    alignment = 0.3 - rng.gamma(2.0, 0.05, (1, 5000)) + rng.normal(0, 0.02, (5, 5000))
    assert not find_label_issues(alignment, np.zeros(5000, int)).is_label_issue.any()


def test_the_standard_error_is_the_deviation_over_new_samples():
    issues = [find_label_issues(*plant(0.2, size=1000, seed=seed, drop=0.3)[:2]) for seed in range(40)]
    shares = [each.issue_share for each in issues]
    assert np.mean([each.issue_share_error for each in issues]) == pytest.approx(np.std(shares), rel=0.4)


def define(alignment, labels):
    """The aggregate, one sample at a time."""
    result = []
    for i, label in enumerate(labels):
        differences = []
        for row in alignment:
            if not np.isnan(row[i]):
                scored = [j for j in range(len(labels)) if not np.isnan(row[j])]
                everyone = np.mean([row[j] for j in scored])
                own = [row[j] for j in scored if labels[j] == label]
                differences.append(row[i] - (sum(own) + 10 * everyone) / (len(own) + 10))
        result.append(np.mean(differences) if differences else np.nan)
    return np.array(result)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 4))
def test_the_aggregate_is_its_definition(seed, size, epochs):
    rng = np.random.default_rng(seed)
    alignment, labels = rng.uniform(-1, 1, (epochs, size)), rng.choice([0, 3, 700], size)  # classes with gaps
    alignment[rng.random((epochs, size)) < 0.3] = np.nan
    np.testing.assert_allclose(aggregate_alignment(alignment, labels), define(alignment, labels), atol=1e-12)
    issues = find_label_issues(alignment, labels)
    np.testing.assert_allclose(issues.label_quality, 0.5 + define(alignment, labels) / 4, atol=1e-12)
    assert ((issues.label_quality >= 0) & (issues.label_quality <= 1))[~np.isnan(issues.label_quality)].all()
    assert sorted(issues.rank) == list(range(1, size + 1))
    assert "too few" in issues.reason


def test_skipped_samples_are_judged_by_the_other_epochs_and_those_never_scored_come_last():
    """Alignments rise from epoch to epoch; what was skipped early is no better for that."""
    alignment, labels, wrong = plant()
    alignment += np.linspace(-0.2, 0.2, len(alignment), dtype=np.float32)[:, None]
    alignment[:5, 7] = np.nan  # scored in the last epoch alone
    alignment[:, [3, 8]] = np.nan
    issues = find_label_issues(alignment, labels)
    assert np.isnan(issues.label_quality[[3, 8]]).all()
    assert not issues.is_label_issue[[3, 8]].any()
    assert issues.rank[[3, 8]].tolist() == [1999, 2000]
    scored = ~np.isnan(issues.label_quality)
    assert np.mean(issues.is_label_issue[scored] == wrong[scored]) > 0.995
    assert issues.label_quality[7] == pytest.approx(0.5 - 0.1 * wrong[7], abs=0.05)


def test_nothing_was_ever_scored():
    issues = find_label_issues(np.full((2, 3), np.nan), [0, 1, 2])
    assert np.isnan(issues.label_quality).all()
    assert issues.rank.tolist() == [1, 2, 3]
    assert "too few" in issues.reason


def test_equal_labels_rank_in_the_order_of_their_rows():
    alignment = np.tile([0.5, 0.1, 0.5, 0.1, 0.5], 20)[None]
    issues = find_label_issues(alignment, np.zeros(100, int))
    low, high = np.flatnonzero(alignment[0] < 0.3), np.flatnonzero(alignment[0] > 0.3)
    assert np.argsort(issues.rank).tolist() == [*low, *high]
    assert np.array_equal(issues.is_label_issue, alignment[0] < 0.3)
    same = find_label_issues(np.full((3, 100), 0.25), np.zeros(100, int))
    assert same.rank.tolist() == list(range(1, 101))
    assert (same.is_label_issue.any(), same.reason) == (False, "all scores are the same")


@pytest.mark.parametrize("classes", [1, 10])
@pytest.mark.parametrize("epochs", [1, 6])
def test_one_class_and_one_epoch(classes, epochs):
    alignment, labels, wrong = plant(epochs=epochs, classes=classes)
    assert np.mean(find_label_issues(alignment, labels).is_label_issue == wrong) > 0.99


def test_a_single_sample():
    issues = find_label_issues([[0.3]], [5], [[2]])
    assert (issues.label_quality[0], issues.rank.tolist(), issues.predicted_label.tolist()) == (0.5, [1], [2])
    assert not issues.is_label_issue.any()


def test_a_sample_alone_in_its_class_is_compared_with_all():
    alignment, labels, _ = plant(share=0.0)
    labels[0], labels[1] = 98, 99
    alignment[:, 0] -= 0.5
    issues = find_label_issues(alignment, labels)
    assert issues.rank[0] == 1
    assert issues.rank[1] > 20


def test_suggested_labels_are_the_votes_of_past_predictions():
    rng = np.random.default_rng(0)
    alignment, labels, _ = plant()
    predictions = rng.integers(-1, 10, alignment.shape)
    predictions[:, 4] = -1
    suggested = find_label_issues(alignment, labels, predictions).predicted_label
    assert np.array_equal(suggested, vote(predictions, 10))
    assert suggested[4] == -1
    assert (find_label_issues(alignment, labels).predicted_label == -1).all()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((np.zeros(3), [0, 1, 2]), r"alignment is float64 \(3,\)"),
        ((np.zeros((2, 3), int), [0, 1, 2]), r"alignment is int64"),
        ((np.zeros((2, 3)), [0, 1]), r"labels are int64 \(2,\); they must be 3 integers"),
        ((np.zeros((2, 3)), [0.0, 1.0, 2.0]), r"labels are float64"),
        ((np.zeros((2, 3)), [0, 1, 2], np.zeros((3, 2), int)), r"predictions are int64 \(3, 2\); .* \(2, 3\)"),
        ((np.zeros((2, 3)), [0, 1, 2], np.zeros((2, 3))), "predictions are float64"),
        ((np.array([[0.0, 0, 0], [0, 1.5, 0]]), [0, 1, 2]), r"outside \[-1, 1\] in epoch 2"),
    ],
)
def test_impossible_arguments(arguments, says):
    with pytest.raises(ValueError, match=says) as error:
        find_label_issues(*arguments)
    assert len(str(error.value).splitlines()) == 1


def test_memory_mapped_scores_are_not_copied(tmp_path):
    size, epochs = 50_000, 60
    alignment, labels, _ = plant(size=size, epochs=1)
    np.save(tmp_path / "scores.npy", np.repeat(alignment, epochs, axis=0))
    np.save(tmp_path / "predictions.npy", np.zeros((epochs, size), np.int32))
    scores, predictions = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("scores", "predictions"))
    tracemalloc.start()
    find_label_issues(scores, labels, predictions)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < scores.nbytes  # in float64, a copy would be twice as large


def test_a_chosen_share_is_flagged_whatever_the_scores_look_like():
    rng = np.random.default_rng(0)
    alignment, labels = rng.normal(0.2, 0.05, (4, 400)), rng.integers(0, 3, 400)
    alignment[:, 7] = np.nan
    issues = find_label_issues(alignment, labels, share=0.1)
    assert issues.is_label_issue.sum() == 40  # of the 399 that were scored
    np.testing.assert_array_equal(issues.is_label_issue, issues.rank <= 40)
    assert (issues.issue_share, issues.reason) == (0.1, None)
    assert np.isnan([issues.threshold, issues.issue_share_error]).all()
    for share in (0, 1, 20, -0.5):
        with pytest.raises(ValueError, match="share is"):
            find_label_issues(alignment, labels, share=share)
