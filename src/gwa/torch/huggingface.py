"""Gradient-Weight Alignment with transformers: `Trainer(callbacks=[AlignmentCallback("classifier")], ...)`."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from gwa.rules import Rule
from gwa.torch.monitor import AlignmentMonitor


class AlignmentCallback(TrainerCallback):
    """Adds each epoch's record to `state.log_history`, and stops training when the rule says so.

    The labels are those that the forward pass of the model receives as `labels`. A Trainer with
    `label_smoothing_factor` or `compute_loss_func` does not pass them on: then call `monitor.update` in
    `compute_loss_func` while gradients are on, and the callback leaves the batch to it. The records are part of the
    Trainer's checkpoint.

    Attributes:
      monitor: the AlignmentMonitor of the run, once it has started.

    Example:
      >>> import torch, transformers
      >>> from gwa.torch.huggingface import AlignmentCallback
      >>> class Classifier(torch.nn.Module):
      ...     def __init__(self):
      ...         super().__init__()
      ...         self.classifier = torch.nn.Linear(4, 3)
      ...     def forward(self, images, labels):
      ...         logits = self.classifier(images)
      ...         return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}
      >>> dataset = [{"images": torch.randn(4), "labels": row % 3} for row in range(30)]
      >>> arguments = transformers.TrainingArguments(
      ...     num_train_epochs=2, save_strategy="no", report_to=[], disable_tqdm=True, use_cpu=True
      ... )
      >>> alignment = AlignmentCallback(head="classifier")
      >>> trainer = transformers.Trainer(Classifier(), arguments, train_dataset=dataset, callbacks=[alignment])
      >>> _ = trainer.train()  # doctest: +ELLIPSIS
      {...}
      >>> [entry["epoch"] for entry in trainer.state.log_history if "gwa" in entry]
      [1, 2]
    """

    monitor: AlignmentMonitor

    def __init__(self, head: str | None = None, rule: Rule | None = None):
        """As AlignmentMonitor, whose `epochs` are those of the TrainingArguments.

        Args:
          head: dotted name of the head in the model.
          rule: which epoch to keep.
        """
        self._head, self._rule = head, rule
        self._labels: Any = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Hooks the head, and the model for its labels."""
        model = kwargs["model"]
        self.monitor = AlignmentMonitor(model, self._head, self._rule, epochs=state.num_train_epochs)
        self.monitor.resume(entry for entry in state.log_history if "gwa" in entry)
        self._updates = 0
        self._handle = model.register_forward_pre_hook(self._keep_labels, with_kwargs=True)

    def on_substep_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Scores a batch whose gradient is accumulated, unless the loss has done so."""
        if self.monitor.updates == self._updates:
            if self._labels is None:
                raise ValueError(
                    "AlignmentCallback: the model was given no `labels` (label_smoothing_factor and compute_loss_func "
                    "keep them from it), and your loss has not called the callback's monitor.update(targets) either"
                )
            self.monitor.update(self._labels)
        self._updates, self._labels = self.monitor.updates, None

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Scores the batch that ended with an update of the weights."""
        self.on_substep_end(args, state, control)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Records the epoch and asks the rule."""
        state.log_history.append(self.monitor.end_epoch(step=state.global_step))
        if self.monitor.verdict.stop:
            control.should_training_stop = True

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Leaves the model as it was."""
        self._handle.remove()
        self.monitor.remove()

    def _keep_labels(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if model.training and torch.is_grad_enabled():
            self._labels = kwargs.get("labels")
