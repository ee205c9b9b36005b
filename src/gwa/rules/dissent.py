"""Dissent: how strongly a network contradicts the labels that its own past predictions contradict.

While a network learns what generalises, it contradicts some labels again and again: its prediction for those samples
stays what it has been. Memorising such a sample ends the contradiction, and so does learning that the label was right.
The rule keeps the epoch of the largest sustained contradiction. Its signal needs the predictions of the forward passes
of training, and their probabilities for the softer form; a trainer measures it with the functions below.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from gwa.rules.rule import Record, Rule, Verdict, can_be_kept

if TYPE_CHECKING:
    import jax

DISSENT = ("dissent", "hard_dissent")  # fields of the record for which earlier predictions vote
_ROWS_AT_ONCE = 16_384  # the votes of a million rows for 1,000 classes would take 8 GB


def vote(predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """The class that a run's own past votes for, sample by sample.

    The prediction of epoch e counts e² votes for its class, so that later epochs count more. If several classes have
    the most votes and the latest prediction is one of them, that one is chosen, else the first of them.

    Args:
      predictions: integers `[epochs, N]`, the class predicted for each training sample in all epochs so far; −1 for a
        sample that was not seen. May be a memory-mapped `predictions.npy`.
      num_classes: of the data set.

    Returns:
      int32 `[N]`; −1 for samples that were never seen.

    Raises:
      ValueError: when there is a prediction of another class.

    Example:
      >>> import numpy as np
      >>> from gwa.rules.dissent import vote
      >>> vote(np.array([[0, 1, 2], [0, 2, 1], [1, 2, 2]]), num_classes=3)
      array([1, 2, 2], dtype=int32)
    """
    epochs, size = predictions.shape
    past = np.full(size, -1, np.int32)
    for start in range(0, size, _ROWS_AT_ONCE):
        part = np.asarray(predictions[:, start : start + _ROWS_AT_ONCE])
        if part.size and not -1 <= part.min() <= part.max() < num_classes:
            raise ValueError(f"predictions are {part.min()} to {part.max()}; they must be -1 to {num_classes - 1}")
        votes = np.zeros((part.shape[1], 1 + num_classes), np.int64)  # the first column is that of −1
        flat, first = votes.reshape(-1), 1 + np.arange(part.shape[1]) * votes.shape[1]
        for epoch, predicted in enumerate(part, start=1):
            flat[first + predicted] += 2 * epoch**2 + (epoch == epochs)  # the 1 is half a vote: it decides ties alone
        votes[:, 0] = 0  # which wins where no class has a vote
        past[start : start + _ROWS_AT_ONCE] = votes.argmax(axis=1) - 1
    return past


def sample_dissent(logits: jax.Array, past: jax.Array, labels: jax.Array) -> jax.Array:
    """Dissent of single samples: p(past) − p(label) where the past contradicts the label, and 0 elsewhere.

    D of an epoch is the mean over the training samples.

    Args:
      logits: `[..., classes]`, of the forward pass of training.
      past: integers `[...]`, as `vote` returns them for the epochs before; −1 where there was none.
      labels: integers `[...]`, observed labels.

    Returns:
      float32 `[...]`, in [−1, 1]; NaN where the label is no class.

    Example:
      >>> import jax.numpy as jnp
      >>> from gwa.rules.dissent import sample_dissent
      >>> logits = jnp.log(jnp.array([[0.7, 0.3], [0.7, 0.3]]))
      >>> [f"{value:.1f}" for value in sample_dissent(logits, jnp.array([0, 1]), jnp.array([1, 1]))]
      ['0.4', '0.0']
    """
    import jax  # the rules need it for nothing else
    import jax.numpy as jnp

    probabilities = jax.nn.softmax(logits.astype(jnp.float32), axis=-1)
    is_class = (labels >= 0) & (labels < logits.shape[-1])
    of_past, of_label = (
        jnp.take_along_axis(probabilities, classes[..., None], axis=-1)[..., 0]
        for classes in (jnp.maximum(past, 0), jnp.where(is_class, labels, 0))
    )
    return jnp.where(is_class, jnp.where((past >= 0) & (past != labels), of_past - of_label, 0), jnp.nan)


def measure_hard_dissent(predictions: np.ndarray, past: np.ndarray, labels: np.ndarray) -> float:
    """Dissent of an epoch from its predictions alone.

    D = (1/N) Σ over the samples with past ≠ label of [prediction = past] − [prediction = label].

    Args:
      predictions: integers `[N]`, of this epoch; samples with −1 were not seen and do not count.
      past: integers `[N]`, as `vote` returns them for the epochs before.
      labels: integers `[N]`, observed labels.

    Returns:
      A number in [−1, 1]; NaN where no sample was seen.

    Example:
      Of four samples, two have a past that contradicts their label; one of these is predicted as labelled now:

      >>> import numpy as np
      >>> from gwa.rules.dissent import measure_hard_dissent
      >>> measure_hard_dissent(np.array([0, 1, 1, 2]), np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1]))
      0.0
    """
    seen = predictions >= 0
    against = seen & (past >= 0) & (past != labels)
    now = (predictions == past).astype(np.float64) - (predictions == labels)
    return float(now[against].sum() / seen.sum()) if seen.any() else math.nan


class DissentState(NamedTuple):
    """As RuleState, with the latest values of the signal, NaN where there was none."""

    best_epoch: int | None = None
    best_value: float = -math.inf
    waited: int = 0
    values: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dissent(Rule):
    """The epoch at which dissent, averaged over the latest epochs, is largest.

    The average after epoch e is over the latest max(`least`, ⌈e · `share`⌉) epochs. Epochs of the warm-up are not
    eligible, but they count in the average; the warm-up ends after `longest_warmup` epochs at the latest.

    Attributes:
      least: smallest number of epochs in the average.
      share: of the epochs so far, for the average.
      longest_warmup: epochs.

    Example:
      >>> from gwa.rules import Dissent
      >>> signal = [None, 0.1, 0.3, 0.4, 0.3, 0.1, 0.0, -0.1]
      >>> history = [{"epoch": e, "progress": e / 8, "dissent": value} for e, value in enumerate(signal, start=1)]
      >>> Dissent().select(history)
      5
    """

    least: int = 5
    share: float = 1 / 3
    longest_warmup: int = 5
    warmup: float = 0.1

    name: ClassVar[str] = "dissent"
    needs: ClassVar[tuple[str, ...]] = ("dissent", "progress")

    def __post_init__(self):
        super().__post_init__()
        if self.least < 1:
            raise ValueError(f"least must be at least 1 epoch, not {self.least}")
        if not 0 <= self.share <= 1:
            raise ValueError(f"share must lie in [0, 1], not {self.share}")
        if self.longest_warmup < 0:
            raise ValueError(f"longest_warmup must be at least 0 epochs, not {self.longest_warmup}")

    def is_warming_up(self, record: Record) -> bool:
        """Whether an epoch lies in the warm-up, and so is not eligible."""
        return super().is_warming_up(record) and record["epoch"] <= self.longest_warmup

    def init(self) -> DissentState:
        """The state before the first epoch."""
        return DissentState()

    def update(self, state: DissentState, record: Record) -> tuple[DissentState, Verdict]:
        """The state and the verdict after one more epoch."""
        value, epoch, counts = record.get(self.needs[0]), record["epoch"], can_be_kept(record)
        values = (*state.values, float(value) if counts and value is not None else math.nan)
        latest = [x for x in values[-max(self.least, math.ceil(epoch * self.share)) :] if not math.isnan(x)]
        average = sum(latest) / len(latest) if latest and counts and not self.is_warming_up(record) else -math.inf
        if average > state.best_value:
            state = DissentState(epoch, average)
        elif state.best_epoch is not None:
            state = state._replace(waited=state.waited + 1)
        stop = self.patience is not None and state.waited >= self.patience
        return state._replace(values=values), Verdict(state.best_epoch, stop)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HardDissent(Dissent):
    """The same for dissent measured from predictions alone.

    Example:
      >>> from gwa.rules import HardDissent
      >>> HardDissent().select([{"epoch": e, "progress": 1.0, "hard_dissent": v} for e, v in ((1, 0.2), (2, 0.1))])
      1
    """

    name: ClassVar[str] = "hard_dissent"
    needs: ClassVar[tuple[str, ...]] = ("hard_dissent", "progress")
