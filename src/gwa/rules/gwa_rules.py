"""The paper's own rules, the epoch of maximal Gradient-Weight Alignment, and one for alignments with two peaks."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, NamedTuple

from gwa.moment_arithmetic import BETA
from gwa.rules.rule import Record, Rule, Verdict
from gwa.rules.training_signals import TrainingSignal


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaxGWA(TrainingSignal):
    """The epoch of maximal GWA after the first 10 % of training: the paper's rule for training from scratch.

    Example:
      >>> from gwa import MaxGWA
      >>> rule = MaxGWA(patience=2)
      >>> state = rule.init()
      >>> for epoch, gwa in enumerate([0.1, 0.4, 0.3, 0.2], start=1):
      ...     state, verdict = rule.update(state, {"epoch": epoch, "progress": epoch / 10, "gwa": gwa})
      >>> verdict
      Verdict(best_epoch=2, stop=True)
    """

    name: ClassVar[str] = "max_gwa"
    needs: ClassVar[tuple[str, ...]] = ("gwa", "progress")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaxBoundedGWA(TrainingSignal):
    """As MaxGWA, for a score that is defined where the alignments have two peaks too. Ours, not the paper's.

    There the excess kurtosis approaches −β or falls below it, and GWA jumps or is undefined. This score is the mean
    alignment / max(excess kurtosis + β, `floor`), which equals GWA wherever its denominator is at least `floor`.

    Attributes:
      beta: as in `gwa_score`.
      floor: smallest denominator, above 0.

    Example:
      In epoch 3 the alignments have two peaks:

      >>> from gwa.rules import MaxBoundedGWA
      >>> moments = [(0.1, 1.0), (0.2, 0.0), (0.3, -1.4), (0.2, -1.5)]
      >>> history = [
      ...     {"epoch": e, "progress": 1.0, "alignment_mean": mean, "excess_kurtosis": kurtosis}
      ...     for e, (mean, kurtosis) in enumerate(moments, start=1)
      ... ]
      >>> MaxBoundedGWA().select(history)
      3
    """

    beta: float = BETA
    floor: float = BETA / 2

    name: ClassVar[str] = "max_bounded_gwa"
    needs: ClassVar[tuple[str, ...]] = ("alignment_mean", "excess_kurtosis", "progress")

    def __post_init__(self):
        super().__post_init__()
        if self.floor <= 0:
            raise ValueError(f"floor must be positive, not {self.floor}")

    def _value(self, record: Record) -> float | None:
        mean, kurtosis = super()._value(record), record.get("excess_kurtosis")
        if mean is None or kurtosis is None or math.isnan(kurtosis):
            return None
        return mean / max(kurtosis + self.beta, self.floor)


class DipState(NamedTuple):
    """As RuleState, with the minimum so far and how many epochs in a row have stayed above it."""

    best_epoch: int | None = None
    best_value: float = -math.inf
    waited: int = 0
    minimum: float = math.inf
    since_minimum: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class MinThenMaxGWA(Rule):
    """The epoch of maximal GWA after its initial minimum: the paper's rule for fine-tuning, where GWA dips at first.

    The paper does not say how the minimum is found. Here it is the first epoch that is the lowest so far and that the
    next `confirm` epochs all stay above: then it is settled, and a lower GWA later on, when training has passed its
    best, moves it no more. An equal value is a new minimum; an epoch without a score neither confirms nor breaks off.
    Until it is settled, each new minimum starts the search for the maximum afresh; while nothing better has followed
    it, the epoch of the minimum is the one to keep.

    Noise can confirm a minimum too early, if it lifts `confirm` epochs in a row above an epoch on the way down. The
    choice is then wrong only if one of the remaining epochs before the dip exceeds everything after it.

    Attributes:
      confirm: how many epochs in a row above the minimum settle it.

    Example:
      GWA starts high, dips in epoch 2 and peaks in epoch 4:

      >>> from gwa import MinThenMaxGWA
      >>> curve = [0.9, 0.1, 0.2, 0.5, 0.4, 0.3]
      >>> MinThenMaxGWA().select({"epoch": epoch, "gwa": gwa} for epoch, gwa in enumerate(curve, start=1))
      4
    """

    confirm: int = 3

    name: ClassVar[str] = "min_then_max_gwa"
    needs: ClassVar[tuple[str, ...]] = ("gwa",)

    def __post_init__(self):
        super().__post_init__()
        if self.confirm < 1:
            raise ValueError(f"confirm must be at least 1 epoch, not {self.confirm}")

    def init(self) -> DipState:
        """The state before the first epoch."""
        return DipState()

    def update(self, state: DipState, record: Record) -> tuple[DipState, Verdict]:
        """The state and the verdict after one more epoch."""
        value = self._value(record)
        if value is not None and state.since_minimum < self.confirm:
            if value <= state.minimum:
                state = DipState(minimum=value)
            else:
                state = state._replace(since_minimum=state.since_minimum + 1)
        return super().update(state, record)
