"""What GWA is compared with: the minima of signals that training shows anyway, or that are measured after an epoch."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from gwa.rules.rule import Rule


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingSignal(Rule):
    """A rule on what training itself shows, which skips the start of it as the paper's rule does.

    Example:
      >>> from gwa.rules import TrainingSignal
      >>> class SmallestLearningRate(TrainingSignal):
      ...     name = "smallest_learning_rate"
      ...     needs = ("learning_rate", "progress")
      ...     smallest = True
      >>> rates = [0.0, 0.3, 0.1, 0.2]
      >>> history = [{"epoch": i + 1, "progress": (i + 1) / 10, "learning_rate": rates[i]} for i in range(4)]
      >>> SmallestLearningRate().select(history)  # epoch 1 is warm-up
      3
    """

    warmup: float = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class LowestTrainLoss(TrainingSignal):
    """The epoch of the lowest mean training loss.

    Example:
      Epoch 1 belongs to the warm-up:

      >>> from gwa.rules import LowestTrainLoss
      >>> curve = [0.1, 0.9, 0.5, 0.6]
      >>> history = [{"epoch": i + 1, "progress": (i + 1) / 10, "train_loss": curve[i]} for i in range(4)]
      >>> LowestTrainLoss().select(history)
      3
    """

    name: ClassVar[str] = "lowest_train_loss"
    needs: ClassVar[tuple[str, ...]] = ("train_loss", "progress")
    smallest: ClassVar[bool] = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class LowestGradientNorm(TrainingSignal):
    """The epoch of the lowest mean norm of a batch's gradient over all parameters.

    Example:
      Epoch 1 belongs to the warm-up:

      >>> from gwa.rules import LowestGradientNorm
      >>> curve = [0.1, 3.0, 2.0, 1.0]
      >>> history = [{"epoch": i + 1, "progress": (i + 1) / 10, "gradient_norm": curve[i]} for i in range(4)]
      >>> LowestGradientNorm().select(history)
      4
    """

    name: ClassVar[str] = "lowest_gradient_norm"
    needs: ClassVar[tuple[str, ...]] = ("gradient_norm", "progress")
    smallest: ClassVar[bool] = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class LowestHeadGradientNorm(TrainingSignal):
    """The epoch of the lowest mean norm of a sample's gradient at the head: EL2N weighted by ‖z‖.

    Example:
      Epoch 1 belongs to the warm-up:

      >>> from gwa.rules import LowestHeadGradientNorm
      >>> curve = [0.1, 2.0, 1.0, 1.5]
      >>> history = [{"epoch": i + 1, "progress": (i + 1) / 10, "head_gradient_norm": curve[i]} for i in range(4)]
      >>> LowestHeadGradientNorm().select(history)
      3
    """

    name: ClassVar[str] = "lowest_head_gradient_norm"
    needs: ClassVar[tuple[str, ...]] = ("head_gradient_norm", "progress")
    smallest: ClassVar[bool] = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class LowestPredictionEntropy(TrainingSignal):
    """The epoch of the lowest mean entropy of the predicted distributions.

    Example:
      Epoch 1 belongs to the warm-up:

      >>> from gwa.rules import LowestPredictionEntropy
      >>> curve = [0.1, 1.2, 0.7, 0.4]
      >>> history = [{"epoch": i + 1, "progress": (i + 1) / 10, "prediction_entropy": curve[i]} for i in range(4)]
      >>> LowestPredictionEntropy().select(history)
      4
    """

    name: ClassVar[str] = "lowest_prediction_entropy"
    needs: ClassVar[tuple[str, ...]] = ("prediction_entropy", "progress")
    smallest: ClassVar[bool] = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class LowestSharpness(TrainingSignal):
    """The epoch of the lowest sharpness: how much one step up the gradient raises the loss (Foret et al. 2021).

    Attributes:
      batches: on how many mini-batches the trainer measures it after an epoch.
      radius: the length of that step.

    Example:
      Epoch 1 belongs to the warm-up:

      >>> from gwa.rules import LowestSharpness
      >>> curve = [0.01, 0.3, 0.2, 0.4]
      >>> history = [{"epoch": i + 1, "progress": (i + 1) / 10, "sharpness": curve[i]} for i in range(4)]
      >>> LowestSharpness().select(history)
      3
    """

    batches: int = 5
    radius: float = 0.05

    name: ClassVar[str] = "lowest_sharpness"
    needs: ClassVar[tuple[str, ...]] = ("sharpness", "progress")
    smallest: ClassVar[bool] = True

    def __post_init__(self):
        super().__post_init__()
        if self.batches < 1:
            raise ValueError(f"batches must be at least 1, not {self.batches}")
        if self.radius <= 0:
            raise ValueError(f"radius must be positive, not {self.radius}")
