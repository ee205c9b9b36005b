"""Gradient-Weight Alignment with transformers: `Trainer(callbacks=[AlignmentCallback("classifier")], ...)`."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import IntervalStrategy, has_length

from gwa.rules import Rule
from gwa.torch.monitor import AlignmentMonitor

_STATE = "gwa.torch.huggingface"  # under the Trainer's `stateful_callbacks`


class AlignmentCallback(TrainerCallback):
    """Adds each epoch's record to `state.log_history`, and stops training when the rule says so.

    The labels are those that the forward pass of the model receives as `labels`. A Trainer with
    `label_smoothing_factor` or `compute_loss_func` does not pass them on: then call `monitor.update` in
    `compute_loss_func` while gradients are on, and the callback leaves the batch to it.

    The metrics of an evaluation at the end of an epoch contain its `eval_gwa`, for `metric_for_best_model="gwa"`.

    The state is part of the Trainer's checkpoint, also within an epoch, and epochs have the Trainer's numbers. An epoch
    that ends before its last batch, or whose beginning this callback has not seen, is recorded as partial: no rule
    keeps it, and its `eval_gwa` is NaN.

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
        self._handle: RemovableHandle | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Hooks the head, and the model for its labels; continues where the checkpoint was saved.

        Raises:
          ValueError: when `metric_for_best_model` is GWA, and evaluation is not at the end of each epoch.
        """
        if args.metric_for_best_model in ("gwa", "eval_gwa") and args.eval_strategy != IntervalStrategy.EPOCH:
            raise ValueError(
                f"metric_for_best_model={args.metric_for_best_model!r}: GWA is known when an epoch ends, so "
                f"eval_strategy must be 'epoch', not {args.eval_strategy.value!r}"
            )
        self._remove_hooks()  # of a training that has failed
        model, loader = kwargs["model"], kwargs["train_dataloader"]
        self.monitor = AlignmentMonitor(model, self._head, self._rule, epochs=state.num_train_epochs)
        self._handle = model.register_forward_pre_hook(self._keep_labels, with_kwargs=True)
        self._updates = self._batches = 0  # the latter: of this epoch, that were scored
        self._batches_per_epoch = len(loader) if has_length(loader) else None
        self._begun_unseen = state.global_step > 0
        records = [entry for entry in state.log_history if "gwa" in entry]
        saved = state.stateful_callbacks.pop(_STATE, {})
        here = {"step": state.global_step, "batches_per_epoch": self._batches_per_epoch}
        ended = saved.get("batches") == self._batches_per_epoch
        if here.items() <= saved.items() and here["batches_per_epoch"] and (ended or not args.ignore_data_skip):
            epoch = {name: torch.tensor(values) for name, values in saved["epoch"].items()}
            self.monitor.load_state_dict({"history": records, "epoch": epoch})
            self._batches = saved["batches"]
        else:
            self.monitor.resume(records)
        if self._batches == self._batches_per_epoch:  # the checkpoint was saved after the last batch
            self.on_epoch_end(args, state, control)

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
        self._batches += 1

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Scores the batch that ended with an update of the weights; adds to a checkpoint what this epoch has seen."""
        self.on_substep_end(args, state, control)
        if control.should_save:
            state.stateful_callbacks[_STATE] = {
                "step": state.global_step,
                "batches": self._batches,
                "batches_per_epoch": self._batches_per_epoch,
                "epoch": {name: values.tolist() for name, values in self.monitor.state_dict()["epoch"].items()},
            }

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Records the epoch and asks the rule."""
        if self._batches_per_epoch:
            partial = self._batches < self._batches_per_epoch
        else:  # without a length it is unknown where an epoch continues
            partial = self._begun_unseen or control.should_training_stop or control.should_epoch_stop
        record = self.monitor.end_epoch(
            partial,
            epoch=math.ceil(state.epoch),
            progress=state.global_step / state.max_steps,
            step=state.global_step,
        )
        state.log_history.append(record)
        state.stateful_callbacks.pop(_STATE, None)
        self._batches, self._begun_unseen = 0, False
        if self.monitor.verdict.stop:
            control.should_training_stop = True

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Adds the GWA of the epoch that has just ended to the metrics of an evaluation while training."""
        if self._handle is not None and metrics is not None:
            record = self.monitor.history[-1] if self.monitor.history else {}
            known = record.get("step") == state.global_step and "partial" not in record and record["gwa"] is not None
            metrics["eval_gwa"] = record["gwa"] if known else math.nan

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Leaves the model as it was."""
        self._remove_hooks()

    def _remove_hooks(self) -> None:
        if self._handle is not None:
            self._handle.remove()
            self.monitor.remove()
            self._handle = None

    def _keep_labels(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if model.training and torch.is_grad_enabled():
            self._labels = kwargs.get("labels")
