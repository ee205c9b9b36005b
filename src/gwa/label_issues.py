"""Wrong labels, found from the alignments that training has recorded: a score per label, a ranking and a threshold.

While a network learns what generalises, a wrongly labelled sample pulls the head's weights against where they point,
and its alignment stays low. Its mean over the epochs, compared with that of its class, ranks the labels. Whether the
low ones are a group of their own, and where it ends, is read from the distribution of these means. Needs no clean
labels and no held-out data.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

from gwa.mixture import TwoNormals, fit_two_normals, log_likelihood_of_one
from gwa.rules.dissent import vote

_DRAWN_TO_ALL = 10  # samples of average alignment that are added to each class
_BINS = 1000
_LEAST = 50  # scored samples; among fewer, two peaks are easily a matter of chance
_RESAMPLES = 100  # for the standard error


@dataclasses.dataclass(frozen=True)
class LabelIssues:
    """What `find_label_issues` says of N labels.

    Attributes:
      label_quality: float64 `[N]` in [0, 1]; low values are suspect, and 0.5 is the mean of a class. It is
        1/2 + (alignment − mean of the class) / 4, averaged over the epochs. NaN for a sample that was never scored.
      is_label_issue: bool `[N]`, whether the quality is below the threshold, or within the share that was asked for.
      predicted_label: integers `[N]`, the class that the past predictions vote for (see `gwa.rules.dissent.vote`),
        which may be the given one; −1 for a sample without any prediction.
      rank: int64 `[N]`, from 1 for the most suspect label to N. Equal labels rank in the order of their rows, and
        samples that were never scored come last.
      threshold: a quality, the lowest point of the fitted density between its two peaks; NaN where it has one peak,
        and where a share was asked for.
      issue_share: the share of scored samples that are flagged; an estimate of the share of wrong labels. NaN where
        there is no threshold: the wrong labels, if there are some, could not be told from hard samples.
      issue_share_error: its standard error, from fits to resampled scores. It does not include that right labels of
        hard samples are below the threshold too. NaN where a share was asked for.
      reason: why there is no threshold, so that nothing is flagged; None where there is one.

    Example:
      >>> import numpy as np
      >>> from gwa import find_label_issues
      >>> find_label_issues(np.zeros((3, 100)), np.arange(100) % 2).reason
      'all scores are the same'
    """

    label_quality: np.ndarray
    is_label_issue: np.ndarray
    predicted_label: np.ndarray
    rank: np.ndarray
    threshold: float
    issue_share: float
    issue_share_error: float
    reason: str | None


def find_label_issues(
    alignment: ArrayLike, labels: ArrayLike, predictions: ArrayLike | None = None, share: float | None = None
) -> LabelIssues:
    """Ranks the labels of a training set by how suspect they are, and flags those that form a group of their own.

    Two normals are fitted to the qualities. Labels below the lowest point of the fitted density between its two peaks
    are flagged. If it has only one peak, the suspicious labels are no group of their own, and nothing is flagged: the
    ranking still holds, and you look at the labels yourself to decide how far down it they are wrong.

    Args:
      alignment: floats `[epochs, N]` in [−1, 1], the alignment of each training sample in each epoch, as in
        `scores.npy`; NaN where a sample was skipped. May be memory-mapped: it is read one epoch at a time.
      labels: integers `[N]`, the labels that were trained on.
      predictions: integers `[epochs, N]`, the class predicted in the same forward passes, as in `predictions.npy`; −1
        where a sample was skipped. Only the suggested labels need them.
      share: in (0, 1), for those who know about how many labels are wrong: flag this share of the scored samples, the
        most suspect ones, whatever the distribution looks like.

    Raises:
      ValueError: when a shape or a dtype is another one, or an alignment or the share lies outside its range.

    Example:
      Of 1,000 labels, the first 50 are wrong:

      >>> import numpy as np
      >>> from gwa import find_label_issues
      >>> labels = np.arange(1000) % 10
      >>> alignment = np.random.default_rng(0).normal(0.2, 0.05, (5, 1000))
      >>> alignment[:, :50] -= 0.4
      >>> issues = find_label_issues(alignment, labels)
      >>> bool(issues.is_label_issue[:50].all()), int(issues.is_label_issue.sum())
      (True, 50)
      >>> print(f"{issues.issue_share:.3f} ± {issues.issue_share_error:.3f}")
      0.050 ± 0.007
    """
    alignment, labels = np.asarray(alignment), np.asarray(labels)
    if alignment.ndim != 2 or not np.issubdtype(alignment.dtype, np.floating):
        raise ValueError(f"alignment is {alignment.dtype} {alignment.shape}; it must be floats [epochs, N]")
    if labels.shape != alignment.shape[1:] or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"labels are {labels.dtype} {labels.shape}; they must be {alignment.shape[1]} integers, one per sample"
        )
    suggested = np.full(len(labels), -1, np.int32)
    if predictions is not None:
        predictions = np.asarray(predictions)
        if predictions.shape != alignment.shape or not np.issubdtype(predictions.dtype, np.integer):
            raise ValueError(
                f"predictions are {predictions.dtype} {predictions.shape}; they must be integers {alignment.shape}"
            )
        suggested = vote(predictions, int(predictions.max(initial=-1)) + 1)
    quality = 0.5 + aggregate_alignment(alignment, labels) / 4
    rank = np.empty(len(labels), np.int64)
    rank[np.argsort(quality, kind="stable")] = np.arange(1, len(labels) + 1)  # NaN is sorted last
    scored = quality[~np.isnan(quality)]
    if share is not None:
        if not 0 < share < 1:
            raise ValueError(f"share is {share}; it must lie between 0 and 1")
        flagged = rank <= round(share * len(scored))
        return LabelIssues(quality, flagged, suggested, rank, np.nan, share, np.nan, None)
    threshold, found, error, reason = _find_threshold(scored)
    return LabelIssues(quality, quality < threshold, suggested, rank, threshold, found, error, reason)


def aggregate_alignment(alignment: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The mean over all epochs of each sample's alignment, minus that of its observed class in the same epoch.

    Some classes have higher alignments than others, whatever their labels. The mean of a class is drawn towards that
    of all samples, as if the class had ten more of average alignment. So a sample that is alone in its class is
    compared with all others, and not with itself. A sample that was skipped in some epochs is judged by the others.

    Args:
      alignment: floats `[epochs, N]` in [−1, 1], NaN where a sample was skipped.
      labels: integers `[N]`.

    Returns:
      float64 `[N]` in [−2, 2]; NaN for a sample that was never scored.

    Raises:
      ValueError: when an alignment lies outside [−1, 1].
    """
    classes, label = np.unique(labels, return_inverse=True)
    sums, counts = np.zeros(len(labels)), np.zeros(len(labels), np.int64)
    for epoch, row in enumerate(alignment, start=1):
        scored = ~np.isnan(row)
        if np.abs(row[scored]).max(initial=0) > 1 + 1e-5:  # a cosine, give or take its rounding
            raise ValueError(f"alignment has values outside [-1, 1] in epoch {epoch}; cosines lie within")
        values = np.clip(row[scored].astype(np.float64), -1, 1)
        seen = label[scored]
        mean = values.mean() if len(values) else 0.0
        totals = np.bincount(seen, values, len(classes)) + _DRAWN_TO_ALL * mean
        centres = totals / (np.bincount(seen, minlength=len(classes)) + _DRAWN_TO_ALL)
        sums[scored] += values - centres[seen]
        counts[scored] += 1
    return np.divide(sums, counts, out=np.full(len(labels), np.nan), where=counts > 0)


def _find_threshold(scores: np.ndarray) -> tuple[float, float, float, str | None]:
    """The threshold between two peaks, the share below it and its error, and why there is none."""
    nothing = (np.nan, np.nan, np.nan)
    if len(scores) < _LEAST:
        return *nothing, f"{len(scores)} scored samples are too few to see two peaks; {_LEAST} are the least"
    if np.ptp(scores) < 1e-9:
        return *nothing, "all scores are the same"
    counts, edges = np.histogram(scores, _BINS)
    x = (edges[:-1] + edges[1:]) / 2
    fit = fit_two_normals(x, counts)
    # Three more parameters must pay for themselves, by Schwarz's criterion.
    gain = fit.log_likelihood - log_likelihood_of_one(x, counts) - 1.5 * np.log(len(scores))
    threshold = fit.find_valley() if gain > 0 else None
    if threshold is None:
        return *nothing, "the scores have one peak: wrong labels, if there are some, do not stand apart"
    share = float(np.mean(scores < threshold))
    return threshold, share, _resample_share(x, counts, fit), None


def _resample_share(x: np.ndarray, counts: np.ndarray, fit: TwoNormals) -> float:
    """The standard deviation of the share below the threshold, over scores drawn from these with replacement.

    A resample whose fit has one peak counts with the share 0.
    """
    rng, total, shares = np.random.default_rng(0), int(counts.sum()), []
    for _ in range(_RESAMPLES):
        drawn = rng.multinomial(total, counts / total)
        threshold = fit_two_normals(x, drawn, start=fit).find_valley()
        shares.append(0.0 if threshold is None else drawn[x < threshold].sum() / total)
    return float(np.std(shares))
