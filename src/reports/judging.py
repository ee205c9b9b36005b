"""How good a rule's choice was, and what many such judgements amount to: regret, standard errors, correlations.

Accuracies are in %, differences of them in percentage points. Choices are judged on the test set, which no rule but
`oracle` reads.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gwa import RULES, MaxGWA
from gwa.rules.rule import Record
from training.run.reader import FinishedRun


class Judgement(NamedTuple):
    """A rule's choice in a run: the epoch, its test accuracy, and that of the run's best epoch, which no rule knows.

    The best of many epochs is partly luck. `smoothed_regret` compares means over an epoch and its neighbours instead.
    """

    epoch: int
    accuracy: float
    best: float
    smoothed_regret: float = 0.0

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
    """Whether any of the runs has recorded the signal that a rule reads, be it without a value."""
    return any(RULES[rule].needs[0] in record for run in runs for record in run.history)


def judge(run: FinishedRun, rule: str) -> Judgement | None:
    """Judges the epoch that a rule, with its defaults, keeps from the whole history of a run.

    Returns:
      None where the rule keeps no epoch of this run, or test accuracy was not measured after that epoch.
    """
    epoch = RULES[rule]().select(run.history)
    accuracies = run.values("test_accuracy")
    if epoch is None or math.isnan(accuracies[epoch - 1]):
        return None
    best = max(accuracy for accuracy in accuracies if not math.isnan(accuracy))
    smooth = [_mean_around(accuracies, i) for i in range(len(accuracies))]
    lost = max(value for value in smooth if not math.isnan(value)) - smooth[epoch - 1]
    return Judgement(epoch, 100 * accuracies[epoch - 1], 100 * best, 100 * lost)


def _mean_around(values: Sequence[float], i: int) -> float:
    """The mean of value i and its neighbours, of those that were measured."""
    around = [value for value in values[max(i - 1, 0) : i + 2] if not math.isnan(value)]
    return statistics.fmean(around) if around else math.nan


def choose_epoch(history: Iterable[Record], values: Iterable[float]) -> int | None:
    """The epoch that the paper's rule would choose if these values, one per epoch, were GWA."""
    return MaxGWA().select([{**record, "gwa": value} for record, value in zip(history, values, strict=True)])
