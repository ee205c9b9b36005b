"""Gradient-Weight Alignment with Lightning: `Trainer(callbacks=[AlignmentCallback(head="model.fc")])`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError:  # the same under its older name
    from pytorch_lightning import Callback, LightningModule, Trainer

from gwa.rules import Record, Rule
from gwa.torch.monitor import AlignmentMonitor


def labels_of(batch: Any) -> tuple[Any, Any]:
    """The labels of a batch (images, labels) or {"labels": ...}, and no row numbers.

    Example:
      >>> from gwa.torch.lightning import labels_of
      >>> labels_of({"images": ..., "labels": [2, 0]})
      ([2, 0], None)
    """
    return (batch["labels"] if isinstance(batch, Mapping) else batch[1]), None


class AlignmentCallback(Callback):
    """Logs `gwa` and `alignment_mean` of each epoch, and stops training when the rule says so.

    The labels are those of the batch. A `training_step` that makes other targets, as mixup does, passes these to
    `monitor.update` itself, and the callback then leaves the batch to it.

    The weights to keep are those of `verdict.best_epoch`; `ModelCheckpoint(monitor="gwa", mode="max")` keeps them.
    The state is part of the Trainer's checkpoint.

    Attributes:
      monitor: the AlignmentMonitor of the run, once it has started.

    Example:
      >>> import lightning, torch
      >>> from gwa.torch.lightning import AlignmentCallback
      >>> class Classifier(lightning.LightningModule):
      ...     def __init__(self):
      ...         super().__init__()
      ...         self.fc = torch.nn.Linear(4, 3)
      ...     def training_step(self, batch, batch_idx):
      ...         images, labels = batch
      ...         return torch.nn.functional.cross_entropy(self.fc(images), labels)
      ...     def configure_optimizers(self):
      ...         return torch.optim.SGD(self.parameters(), lr=0.1)
      >>> dataset = torch.utils.data.TensorDataset(torch.randn(30, 4), torch.arange(30) % 3)
      >>> alignment = AlignmentCallback(head="fc")
      >>> trainer = lightning.Trainer(
      ...     max_epochs=2, callbacks=[alignment], accelerator="cpu", logger=False, enable_checkpointing=False,
      ...     enable_progress_bar=False, enable_model_summary=False,
      ... )
      >>> trainer.fit(Classifier(), torch.utils.data.DataLoader(dataset, batch_size=10))
      >>> [record["epoch"] for record in alignment.monitor.history]
      [1, 2]
    """

    monitor: AlignmentMonitor

    def __init__(
        self,
        head: str | None = None,
        rule: Rule | None = None,
        num_examples: int | None = None,
        unpack: Callable[[Any], tuple[Any, Any]] = labels_of,
    ):
        """As AlignmentMonitor, whose `epochs` are the Trainer's `max_epochs`.

        Args:
          head: dotted name of the head in the LightningModule.
          rule: which epoch to keep.
          num_examples: size of the training set, if `unpack` returns row numbers.
          unpack: returns the labels of a batch, and row numbers or None.
        """
        self._head, self._rule, self._num_examples, self._unpack = head, rule, num_examples, unpack
        self._history: list[Record] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hooks the head."""
        epochs = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else None
        self.monitor = AlignmentMonitor(pl_module, self._head, self._rule, self._num_examples, epochs)
        self.monitor.resume(self._history)
        self._updates = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Scores the batch, unless the training step has done so."""
        if self.monitor.updates == self._updates:
            self.monitor.update(*self._unpack(batch))
        self._updates = self.monitor.updates

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the epoch and asks the rule."""
        record = self.monitor.end_epoch()
        self._history = self.monitor.history
        logged = {name: record[name] for name in ("gwa", "alignment_mean")}
        pl_module.log_dict({name: math.nan if value is None else value for name, value in logged.items()})
        trainer.should_stop = trainer.should_stop or self.monitor.verdict.stop

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Removes the hook from the model."""
        self.monitor.remove()

    def state_dict(self) -> dict[str, Any]:
        """The records so far, for the Trainer's checkpoint."""
        return {"history": self._history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the records of an earlier start."""
        self._history = state_dict["history"]
