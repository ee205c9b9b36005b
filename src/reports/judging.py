"""How good a rule's choice was, and what many such judgements amount to: regret, intervals, correlations.

Accuracies are in %, differences of them in percentage points. Choices are judged on the test set, which no rule but
`oracle` reads.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gwa import RULES, MaxGWA
from gwa.rules.rule import Record, Rule
from training.rivals import RIVALS
from training.run.reader import FinishedRun

ALL_RULES: dict[str, type[Rule]] = {**RULES, **RIVALS}
"""What reports judge, by name: the rules of the library and the further rivals."""

FEWEST_DIFFERENCES = 6
"""From fewer paired differences little follows."""

_RESAMPLES = 9999


class Judgement(NamedTuple):
    """A rule's choice in a run: the epoch, its test accuracy, and that of the run's best epoch, which no rule knows.

    The best of many epochs is partly luck, which two more measures leave out.

    Attributes:
      epoch: the choice.
      accuracy: on the test set.
      best: the highest one of the run.
      smoothed_regret: what is lost if accuracies are replaced by means over an epoch and its neighbours.
      cross_fitted_regret: what is lost on one half of the test images against the epoch that is best on the other half,
        averaged over both halves; None if the run has not recorded the halves.
      averaged: accuracy of the averaged parameters after the same epoch; None if the run has kept none.
      averaged_later: the same one epoch later, or after the same epoch if that is the last.
    """

    epoch: int
    accuracy: float
    best: float
    smoothed_regret: float = 0.0
    cross_fitted_regret: float | None = None
    averaged: float | None = None
    averaged_later: float | None = None

    @property
    def regret(self) -> float:
        """What the choice lost against the best epoch of the same run, at least 0."""
        return self.best - self.accuracy


class Mean(NamedTuple):
    """A mean of n values, and their sample standard deviation, which a single value does not have."""

    mean: float
    deviation: float | None
    n: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Mean | None:
        """The mean of some values; None of none."""
        values = list(values)
        if not values:
            return None
        deviation = statistics.stdev(values) if len(values) > 1 else None
        return cls(statistics.fmean(values), deviation, len(values))

    @property
    def error(self) -> float | None:
        """The standard error of the mean, if the values are independent."""
        return None if self.deviation is None else self.deviation / math.sqrt(self.n)


class Difference(NamedTuple):
    """A mean of n paired differences, its 95 % interval, and how likely one so far from 0 is if signs are chance.

    Attributes:
      mean, n: of the differences.
      low, high: the bias-corrected and accelerated bootstrap interval (Efron 1987).
      p: of the sign-flip permutation test, two-sided.
    """

    mean: float
    low: float
    high: float
    p: float
    n: int

    @classmethod
    def of(cls, differences: Sequence[float]) -> Difference | None:
        """Of some differences, as if they were independent; None of fewer than `FEWEST_DIFFERENCES`."""
        if len(differences) < FEWEST_DIFFERENCES:
            return None
        if len(set(differences)) == 1:  # neither resampling nor flipping signs can say anything
            return cls(differences[0], differences[0], differences[0], math.nan, len(differences))
        import numpy as np
        import scipy.stats  # takes a second, and few tables need it

        def mean(values: np.ndarray, axis: int = -1) -> np.ndarray:
            return np.mean(values, axis=axis)

        data = (np.asarray(differences),)
        options = {"n_resamples": _RESAMPLES, "vectorized": True, "rng": 0}
        interval = scipy.stats.bootstrap(data, mean, method="BCa", **options).confidence_interval
        test = scipy.stats.permutation_test(data, mean, permutation_type="samples", **options)
        return cls(statistics.fmean(differences), interval.low, interval.high, test.pvalue, len(differences))


class Correlation(NamedTuple):
    """Pearson's and Spearman's coefficients over n pairs."""

    pearson: float
    spearman: float
    n: int

    @classmethod
    def of(cls, xs: Sequence[float], ys: Sequence[float]) -> Correlation | None:
        """The correlation of two sequences; None where there are less than three pairs or one of them is constant."""
        if len(xs) < 3 or len(set(xs)) == 1 or len(set(ys)) == 1:
            return None
        import scipy.stats  # takes a second, and few tables need it

        pearson, spearman = scipy.stats.pearsonr(xs, ys), scipy.stats.spearmanr(xs, ys)
        return cls(float(pearson.statistic), float(spearman.statistic), len(xs))


def is_recorded(runs: Iterable[FinishedRun], rule: str) -> bool:
    """Whether any of the runs has recorded the signal that a rule reads, even if it is always null."""
    return any(ALL_RULES[rule].needs[0] in record for run in runs for record in run.history)


def judge(run: FinishedRun, rule: str) -> Judgement | None:
    """Judges the epoch that a rule, with its defaults, keeps from the whole history of a run.

    Returns:
      None where the rule keeps no epoch of this run, or test accuracy was not measured after that epoch.
    """
    return judge_rule(run, ALL_RULES[rule]())


def judge_rule(run: FinishedRun, rule: Rule) -> Judgement | None:
    """The same for any rule, such as one of your own."""
    epoch = rule.select(run.history)
    accuracies = run.values("test_accuracy")
    if epoch is None or math.isnan(accuracies[epoch - 1]):
        return None
    best = max(accuracy for accuracy in accuracies if not math.isnan(accuracy))
    smooth = [_mean_around(accuracies, i) for i in range(len(accuracies))]
    lost = max(value for value in smooth if not math.isnan(value)) - smooth[epoch - 1]
    averaged = [None if math.isnan(value) else 100 * value for value in run.values("ema_test_accuracy")]
    return Judgement(
        epoch,
        100 * accuracies[epoch - 1],
        100 * best,
        100 * lost,
        _cross_fit(run, epoch),
        averaged[epoch - 1],
        averaged[min(epoch, len(averaged) - 1)],
    )


def _mean_around(values: Sequence[float], i: int) -> float:
    """The mean of value i and its neighbours, of those that were measured."""
    around = [value for value in values[max(i - 1, 0) : i + 2] if not math.isnan(value)]
    return statistics.fmean(around) if around else math.nan


def _cross_fit(run: FinishedRun, epoch: int) -> float | None:
    halves = run.values("test_accuracy_even"), run.values("test_accuracy_odd")
    if any(math.isnan(value) for half in halves for value in half):
        return None
    lost = [judged[one.index(max(one))] - judged[epoch - 1] for one, judged in (halves, halves[::-1])]
    return 100 * statistics.fmean(lost)


def choose_epoch(history: Iterable[Record], values: Iterable[float]) -> int | None:
    """The epoch that the paper's rule would choose if these values, one per epoch, were GWA."""
    return MaxGWA().select([{**record, "gwa": value} for record, value in zip(history, values, strict=True)])
