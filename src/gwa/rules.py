"""Stopping rules: which epoch to keep, and when to stop, judged from the records of the epochs so far.

A rule works like an optax transformation. `state = rule.init()`, then after every epoch `state, verdict =
rule.update(state, record)`; `rule.select(history)` is the fold of that over a finished history. A record is a mapping
that holds `epoch` (counted from 1), `progress` (the share of the planned steps done, in (0, 1]) and the fields that the
rule names in `needs`. A field that is None or NaN is not eligible.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NamedTuple

Record = Mapping[str, Any]


class Verdict(NamedTuple):
    """What a rule says after an epoch: the epoch to keep (None before any is eligible), and whether to stop now."""

    best_epoch: int | None
    stop: bool


class RuleState(NamedTuple):
    """The best epoch so far, its value, how many records have passed since it, and since which minimum it counts."""

    best_epoch: int | None = None
    best_value: float = -math.inf
    waited: int = 0
    minimum: float = math.inf
    since_minimum: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """Keeps the first epoch at which the field `needs[0]` is largest.

    Attributes:
      patience: stop once this many epochs have passed without a better one; None never stops.
    """

    patience: int | None = None

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]]

    def __post_init__(self):
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"patience must be at least 1 epoch, not {self.patience}")

    def init(self) -> RuleState:
        """The state before the first epoch."""
        return RuleState()

    def update(self, state: RuleState, record: Record) -> tuple[RuleState, Verdict]:
        """The state and the verdict after one more epoch."""
        value = self._value(record)
        if value is not None and value > state.best_value:
            state = state._replace(best_epoch=record["epoch"], best_value=value, waited=0)
        elif state.best_epoch is not None:
            state = state._replace(waited=state.waited + 1)
        stop = self.patience is not None and state.waited >= self.patience
        return state, Verdict(state.best_epoch, stop)

    def select(self, history: Iterable[Record]) -> int | None:
        """The epoch that the rule keeps from a history; None when no epoch is eligible.

        The whole history is judged: whether the rule would have stopped earlier is for whoever runs it to ask.
        """
        state = self.init()
        for record in history:
            state, _ = self.update(state, record)
        return state.best_epoch

    def _value(self, record: Record) -> float | None:
        """The value to maximise, or None where the record is not eligible."""
        value = record[self.needs[0]]
        return None if value is None or math.isnan(value) else float(value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaxGWA(Rule):
    """The epoch of maximal GWA after a warm-up: the paper's rule for training from scratch.

    Attributes:
      warmup: share of the planned steps whose records are skipped; the paper skips the first 10 %.
    """

    warmup: float = 0.1

    name: ClassVar[str] = "max_gwa"
    needs: ClassVar[tuple[str, ...]] = ("gwa", "progress")

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup must be a share of training in [0, 1), not {self.warmup}")

    def _value(self, record: Record) -> float | None:
        return super()._value(record) if record["progress"] > self.warmup else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class MinThenMaxGWA(Rule):
    """The epoch of maximal GWA after its initial minimum: the paper's rule for fine-tuning, where GWA dips at first.

    The paper does not say how the minimum is found. Here it is the lowest GWA so far, and it is settled once `confirm`
    epochs in a row have stayed above it; a lower GWA later on, when training has passed its best, moves it no more.
    Until it is settled, each new minimum starts the search for the maximum afresh; while nothing better has followed
    it, the epoch of the minimum is the one to keep.

    Attributes:
      confirm: how many epochs in a row above the minimum settle it.
    """

    confirm: int = 3

    name: ClassVar[str] = "min_then_max_gwa"
    needs: ClassVar[tuple[str, ...]] = ("gwa",)

    def __post_init__(self):
        super().__post_init__()
        if self.confirm < 1:
            raise ValueError(f"confirm must be at least 1 epoch, not {self.confirm}")

    def update(self, state: RuleState, record: Record) -> tuple[RuleState, Verdict]:
        """The state and the verdict after one more epoch."""
        value = self._value(record)
        if value is not None and state.since_minimum < self.confirm:
            if value <= state.minimum:
                state = RuleState(minimum=value)
            else:
                state = state._replace(since_minimum=state.since_minimum + 1)
        return super().update(state, record)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BestValidation(Rule):
    """The epoch of the highest accuracy on held-out training data, the first one where several are equal."""

    name: ClassVar[str] = "best_validation"
    needs: ClassVar[tuple[str, ...]] = ("val_accuracy",)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Last(Rule):
    """The last epoch: training as planned, without selection."""

    name: ClassVar[str] = "last"
    needs: ClassVar[tuple[str, ...]] = ("epoch",)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Oracle(Rule):
    """The epoch of the highest test accuracy: what no honest rule can know, to judge the others by."""

    name: ClassVar[str] = "oracle"
    needs: ClassVar[tuple[str, ...]] = ("test_accuracy",)


RULES: dict[str, type[Rule]] = {rule.name: rule for rule in (MaxGWA, MinThenMaxGWA, BestValidation, Last, Oracle)}
