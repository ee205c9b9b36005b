"""What a rule is: the state that it folds over records, its verdict, and the plain rules on a single field."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NamedTuple

Record = Mapping[str, Any]

LARGEST_UNDEFINED = 0.01
"""No rule keeps an epoch in which a larger share of the alignments is not finite."""


class Verdict(NamedTuple):
    """What a rule says after an epoch: the epoch to keep (None before any is eligible), and whether to stop now.

    Example:
      >>> from gwa import BestValidation
      >>> rule = BestValidation(patience=1)
      >>> state, verdict = rule.update(rule.init(), {"epoch": 1, "val_accuracy": 0.8})
      >>> verdict
      Verdict(best_epoch=1, stop=False)
      >>> state, verdict = rule.update(state, {"epoch": 2, "val_accuracy": 0.7})
      >>> verdict.stop
      True
    """

    best_epoch: int | None
    stop: bool


class RuleState(NamedTuple):
    """The best epoch so far, its value, and how many records have passed since it."""

    best_epoch: int | None = None
    best_value: float = -math.inf
    waited: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """Keeps the first epoch at which the field `needs[0]` is largest or, where `smallest` says so, smallest.

    Attributes:
      patience: stop once this many epochs have passed without a better one; None never stops.
      warmup: share of the planned steps whose records are skipped.

    Example:
      A rule of your own names the field that it reads:

      >>> from gwa import Rule
      >>> class HighestTrainAccuracy(Rule):
      ...     name = "highest_train_accuracy"
      ...     needs = ("train_accuracy",)
      >>> history = [{"epoch": 1, "train_accuracy": 0.7}, {"epoch": 2, "train_accuracy": 0.9}]
      >>> HighestTrainAccuracy().select(history)
      2
    """

    patience: int | None = None
    warmup: float = 0.0

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]]
    smallest: ClassVar[bool] = False

    def __post_init__(self):
        if self.patience is not None and not (isinstance(self.patience, numbers.Integral) and self.patience >= 1):
            raise ValueError(f"patience must be a whole number of epochs from 1 on, not {self.patience}")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup must be a share of training in [0, 1), not {self.warmup}")

    @classmethod
    def uses_validation(cls) -> bool:
        """Whether the rule reads held-out data."""
        return any(field.startswith("val_") for field in cls.needs)

    def init(self) -> Any:
        """The state before the first epoch."""
        return RuleState()

    def update(self, state: Any, record: Record) -> tuple[Any, Verdict]:
        """The state and the verdict after one more epoch."""
        value = self._value(record)
        state = follow(state, record["epoch"], None if value is None else -value if self.smallest else value)
        return state, Verdict(state.best_epoch, self.patience is not None and state.waited >= self.patience)

    def select(self, history: Iterable[Record]) -> int | None:
        """The epoch that the rule keeps from a history; None when no epoch is eligible.

        The whole history is judged: whether the rule would have stopped earlier is for whoever runs it to ask.
        """
        state, verdict = self.init(), Verdict(None, False)
        for record in history:
            state, verdict = self.update(state, record)
        return verdict.best_epoch

    def is_warming_up(self, record: Record) -> bool:
        """Whether an epoch lies in the warm-up, and so is not eligible.

        Raises:
          ValueError: when the record does not say how far training is.
        """
        if not self.warmup:
            return False
        if record.get("progress") is None:
            raise ValueError(
                f"{self.name} skips the first {self.warmup:.0%} of training, so records need progress, which is "
                "epoch / epochs; with warmup=0 they do not"
            )
        return bool(record["progress"] <= self.warmup)

    def _value(self, record: Record) -> float | None:
        """The value of the field that decides, or None where the record is not eligible."""
        value = record.get(self.needs[0])
        if value is None or math.isnan(value) or not can_be_kept(record):
            return None
        return None if self.is_warming_up(record) else float(value)


def can_be_kept(record: Record) -> bool:
    """Whether any rule may keep an epoch: it was seen whole, and at most 1 % of its alignments are not finite."""
    undefined = record.get("non_finite_alignments", 0)
    if record.get("partial"):
        return False
    return not undefined or undefined <= LARGEST_UNDEFINED * record.get("num_samples", 0)


def follow(state: Any, epoch: int, value: float | None) -> Any:
    """The state, a RuleState or one with more fields, after an epoch of this value; None: the epoch is not eligible."""
    if value is not None and value > state.best_value:
        return state._replace(best_epoch=epoch, best_value=value, waited=0)
    return state if state.best_epoch is None else state._replace(waited=state.waited + 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BestValidation(Rule):
    """The epoch of the highest accuracy on held-out training data, the first one where several are equal.

    Example:
      >>> from gwa import BestValidation
      >>> curve = [0.7, 0.9, 0.9]
      >>> BestValidation().select({"epoch": i, "val_accuracy": value} for i, value in enumerate(curve, start=1))
      2
    """

    name: ClassVar[str] = "best_validation"
    needs: ClassVar[tuple[str, ...]] = ("val_accuracy",)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LowestValidationLoss(Rule):
    """The epoch of the lowest loss on held-out training data.

    Example:
      >>> from gwa.rules import LowestValidationLoss
      >>> curve = [0.8, 0.5, 0.6]
      >>> LowestValidationLoss().select({"epoch": i, "val_loss": value} for i, value in enumerate(curve, start=1))
      2
    """

    name: ClassVar[str] = "lowest_validation_loss"
    needs: ClassVar[tuple[str, ...]] = ("val_loss",)
    smallest: ClassVar[bool] = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Last(Rule):
    """The last epoch: training as planned, without selection.

    Example:
      >>> from gwa import Last
      >>> Last().select([{"epoch": 1}, {"epoch": 2}, {"epoch": 3}])
      3
    """

    name: ClassVar[str] = "last"
    needs: ClassVar[tuple[str, ...]] = ("epoch",)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Oracle(Rule):
    """The epoch of the highest test accuracy: what no honest rule can know, to judge the others by.

    Example:
      >>> from gwa import Oracle
      >>> curve = [0.6, 0.8, 0.7]
      >>> Oracle().select({"epoch": i, "test_accuracy": value} for i, value in enumerate(curve, start=1))
      2
    """

    name: ClassVar[str] = "oracle"
    needs: ClassVar[tuple[str, ...]] = ("test_accuracy",)
