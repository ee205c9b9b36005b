"""What GWA is compared with: rules that judge how predictions and gradients change from epoch to epoch."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, NamedTuple

from gwa.rules.rule import Record, Rule, Verdict, follow


class WaveState(NamedTuple):
    """As RuleState, with the latest numbers of changed predictions and whether the minimum is settled."""

    best_epoch: int | None = None
    best_value: float = -math.inf
    waited: int = 0
    recent: tuple[float, ...] = ()
    halted: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelWave(Rule):
    """The first local minimum of the moving average of changed training predictions (Yuan et al., arXiv 2502.07551).

    PC is the number of training samples whose predicted class differs from that of the epoch before, taken from the
    forward passes of training; PC′ its mean over the latest `window` epochs. The epoch of the lowest PC′ is kept until
    `patience` epochs have passed without a lower one; then the rule halts, and later epochs move it no more.

    The paper recommends a window of 3 (its appendix E) and gives no patience; 5 is ours. Epochs before the window is
    full, on which it is silent, are not eligible.

    Example:
      The means over three epochs are 60, 40 and 50:

      >>> from gwa import LabelWave
      >>> changes = [90, 50, 40, 30, 80]
      >>> LabelWave().select({"epoch": i, "prediction_changes": count} for i, count in enumerate(changes, start=1))
      4
    """

    window: int = 3
    patience: int | None = 5

    name: ClassVar[str] = "label_wave"
    needs: ClassVar[tuple[str, ...]] = ("prediction_changes",)

    def __post_init__(self):
        super().__post_init__()
        if self.window < 1:
            raise ValueError(f"window must be at least 1 epoch, not {self.window}")

    def init(self) -> WaveState:
        """The state before the first epoch."""
        return WaveState()

    def update(self, state: WaveState, record: Record) -> tuple[WaveState, Verdict]:
        """The state and the verdict after one more epoch."""
        value = self._value(record)
        if not state.halted:
            if value is not None:
                state = state._replace(recent=(*state.recent, value)[-self.window :])
            full = value is not None and len(state.recent) == self.window
            state = follow(state, record["epoch"], -sum(state.recent) / self.window if full else None)
            state = state._replace(halted=self.patience is not None and state.waited >= self.patience)
        return state, Verdict(state.best_epoch, state.halted)


class HaltState(NamedTuple):
    """The latest eligible epoch until the rule has halted, then the one at which it did; and what the rule counts."""

    best_epoch: int | None = None
    halted: bool = False
    reference: float = math.nan
    increased: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class HaltingRule(Rule):
    """Keeps the latest epoch until a condition on its field halts training, and from then on that one.

    Example:
      A rule of your own says in `judge` when to halt:

      >>> from gwa.rules import HaltingRule
      >>> class AccuracyReached(HaltingRule):
      ...     name = "accuracy_reached"
      ...     needs = ("train_accuracy",)
      ...     def judge(self, state, value):
      ...         return state._replace(halted=value >= 0.9)
      >>> curve = [0.7, 0.95, 0.99]
      >>> AccuracyReached().select({"epoch": i, "train_accuracy": value} for i, value in enumerate(curve, start=1))
      2
    """

    def __post_init__(self):
        super().__post_init__()
        if self.patience is not None:
            raise ValueError(f"{self.name} halts by a count of its own and takes no patience")

    def init(self) -> HaltState:
        """The state before the first epoch."""
        return HaltState()

    def update(self, state: HaltState, record: Record) -> tuple[HaltState, Verdict]:
        """The state and the verdict after one more epoch."""
        value = self._value(record)
        if value is not None and not state.halted:
            state = self.judge(state, value)._replace(best_epoch=record["epoch"])
        return state, Verdict(state.best_epoch, state.halted)

    def judge(self, state: HaltState, value: float) -> HaltState:
        """The state after an eligible epoch of this value; `halted` in it halts the rule."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, kw_only=True)
class GradientDisparity(HaltingRule):
    """Halts when gradient disparity has increased in five epochs (Forouzesh and Thiran 2021, arXiv 2107.06665).

    Gradient disparity is the mean distance between the gradients of pairs of mini-batches at the same parameters; the
    trainer measures it on `batches` of them after an epoch. The epoch at which the rule halts is the one it keeps.

    Attributes:
      batches: how many mini-batches are compared, each with each.
      increases: how many epochs with an increase halt training, from the start of it on.

    Example:
      The second increase is that of epoch 4:

      >>> from gwa import GradientDisparity
      >>> curve = [5.0, 6.0, 4.0, 7.0, 3.0]
      >>> history = [{"epoch": i, "gradient_disparity": value} for i, value in enumerate(curve, start=1)]
      >>> GradientDisparity(increases=2).select(history)
      4
    """

    batches: int = 5
    increases: int = 5

    name: ClassVar[str] = "gradient_disparity"
    needs: ClassVar[tuple[str, ...]] = ("gradient_disparity",)
    consecutive: ClassVar[bool] = False

    def __post_init__(self):
        super().__post_init__()
        if self.batches < 2:
            raise ValueError(f"batches must be at least 2, not {self.batches}")
        if self.increases < 1:
            raise ValueError(f"increases must be at least 1, not {self.increases}")

    def judge(self, state: HaltState, value: float) -> HaltState:
        """See HaltingRule."""
        kept = 0 if self.consecutive else state.increased
        increased = state.increased + 1 if value > state.reference else kept
        return state._replace(reference=value, increased=increased, halted=increased >= self.increases)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConsecutiveGradientDisparity(GradientDisparity):
    """The second published count of gradient disparity: five increases in a row.

    Example:
      Epochs 4 and 5 bring the first two increases in a row:

      >>> from gwa.rules import ConsecutiveGradientDisparity
      >>> curve = [5.0, 6.0, 4.0, 7.0, 8.0, 3.0]
      >>> history = [{"epoch": i, "gradient_disparity": value} for i, value in enumerate(curve, start=1)]
      >>> ConsecutiveGradientDisparity(increases=2).select(history)
      5
    """

    name: ClassVar[str] = "gradient_disparity_consecutive"
    consecutive: ClassVar[bool] = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChurnPerMisfit(HaltingRule):
    """Halts when the share of changed training predictions per share not fitted leaves its minimum by 20 %.

    While a network learns, both shares fall together; once it memorises, predictions go on changing among fewer and
    fewer misfits. Ours, untuned, not a published rule.

    Attributes:
      excess: how far above its running minimum the ratio halts training, as a share of that minimum.

    Example:
      The ratios are 0.6, 0.5 and 0.7:

      >>> from gwa.rules import ChurnPerMisfit
      >>> churn, accuracy = [0.3, 0.2, 0.14], [0.5, 0.6, 0.8]
      >>> fields = zip((1, 2, 3), churn, accuracy)
      >>> history = [{"epoch": i, "prediction_churn": c, "train_accuracy": a} for i, c, a in fields]
      >>> ChurnPerMisfit(warmup=0.0).select(history)
      3
    """

    excess: float = 0.2
    warmup: float = 0.1

    name: ClassVar[str] = "churn_per_misfit"
    needs: ClassVar[tuple[str, ...]] = ("prediction_churn", "train_accuracy", "progress")

    def _value(self, record: Record) -> float | None:
        churn, accuracy = super()._value(record), record.get("train_accuracy")
        return None if churn is None or accuracy is None or not accuracy < 1 else churn / (1 - accuracy)

    def judge(self, state: HaltState, value: float) -> HaltState:
        """See HaltingRule."""
        minimum = min(value, value if math.isnan(state.reference) else state.reference)
        return state._replace(reference=minimum, halted=value > (1 + self.excess) * minimum)
