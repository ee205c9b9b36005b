"""Gradient-Weight Alignment with Lightning: `Trainer(callbacks=[AlignmentCallback(head="model.fc")])`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
    from lightning.pytorch.utilities import CombinedLoader
except ImportError:  # the same under its older name
    from pytorch_lightning import Callback, LightningModule, Trainer
    from pytorch_lightning.utilities import CombinedLoader

from gwa.rules import Rule
from gwa.torch.monitor import AlignmentMonitor


def labels_of(batch: Any) -> tuple[Any, Any]:
    """The labels of a batch (images, labels) or {"labels": ...}, and no row numbers.

    Example:
      >>> from gwa.torch.lightning import labels_of
      >>> labels_of({"images": ..., "labels": [2, 0]})
      ([2, 0], None)
    """
    if not isinstance(batch, Mapping):
        return batch[1], None
    if "labels" not in batch:
        raise ValueError(f"the batch has {', '.join(map(repr, batch))} and no 'labels'; pass unpack=")
    return batch["labels"], None


class AlignmentCallback(Callback):
    """Logs `gwa` and `alignment_mean` of each epoch, and stops training when the rule says so.

    The labels are those of the batch. A `training_step` that makes other targets, as mixup does, passes these to
    `monitor.update` itself, and the callback then leaves the batch to it.

    The weights to keep are those of `verdict.best_epoch`; `ModelCheckpoint(monitor="gwa", mode="max")` keeps them.

    The state is part of the Trainer's checkpoint, also within an epoch, and epochs have the Trainer's numbers. An epoch
    that ends before its last batch, or whose beginning this callback has not seen, is recorded as partial: no rule
    keeps it, and its `gwa` is logged as NaN. So is one that is resumed with a loader that cannot be (it lacks
    `state_dict` and `load_state_dict`): Lightning then starts with its first batches again.

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
        keep_samples: bool = False,
    ):
        """As AlignmentMonitor, whose `epochs` are the Trainer's `max_epochs`.

        Args:
          head: dotted name of the head in the LightningModule.
          rule: which epoch to keep.
          num_examples: size of the training set, if `unpack` returns row numbers.
          unpack: returns the labels of a batch, and row numbers or None.
          keep_samples: keep the scores of every epoch, for `monitor.find_label_issues`.
        """
        self._head, self._rule, self._num_examples, self._unpack = head, rule, num_examples, unpack
        self._keep_samples = keep_samples
        self._loaded: dict[str, Any] = {}
        self._batches = self._epochs = 0  # the scored ones of this epoch, and the epochs before it

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hooks the head, and continues where the checkpoint was saved."""
        state, before = self._loaded, getattr(self, "monitor", None)
        if before is not None:  # an earlier fit of this callback
            before.remove()
            if not state and trainer.current_epoch:
                state = {name: value for name, value in before.state_dict().items() if name != "epoch"}
        self._loaded = {}
        ended = trainer.current_epoch > state.get("epochs", 0)
        loaders = CombinedLoader(trainer.train_dataloader).flattened
        if not (ended or all(hasattr(loader, "load_state_dict") for loader in loaders)):
            # Lightning starts with the first batches again, so that what follows is not the rest of the epoch.
            state = {name: value for name, value in state.items() if name not in ("epoch", "batches")}
        epochs = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else None
        self.monitor = AlignmentMonitor(
            pl_module, self._head, self._rule, self._num_examples, epochs, self._keep_samples
        )
        if state:
            self.monitor.load_state_dict(state)
        self._batches, self._updates = state.get("batches", 0), 0
        if self._batches and ended:
            # The checkpoint is of the last batch of an epoch, which Lightning takes for ended without calling the hook.
            self._end_epoch(trainer, state["epochs"])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Scores the batch, unless the training step has done so."""
        if self.monitor.updates == self._updates:
            unpacked = self._unpack(batch)
            if not isinstance(unpacked, tuple | list) or len(unpacked) != 2:
                raise ValueError("unpack must return the labels, and row numbers or None")
            self.monitor.update(*unpacked)
        self._updates = self.monitor.updates
        self._batches += 1
        self._epochs = trainer.current_epoch

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the epoch and asks the rule."""
        if not self._batches:  # the hook is called again if the checkpoint was saved within it
            return
        record = self._end_epoch(trainer, trainer.current_epoch)
        logged = {name: None if "partial" in record else record[name] for name in ("gwa", "alignment_mean")}
        pl_module.log_dict({name: math.nan if value is None else value for name, value in logged.items()})

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Removes the hook from the model."""
        self.monitor.remove()

    def state_dict(self) -> dict[str, Any]:
        """The records so far and what this epoch has collected, for the Trainer's checkpoint."""
        if not hasattr(self, "monitor"):
            return self._loaded
        return {**self.monitor.state_dict(), "batches": self._batches, "epochs": self._epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the state of an earlier start."""
        self._loaded = state_dict

    def _end_epoch(self, trainer: Trainer, epochs_before: int) -> dict[str, Any]:
        batches, progress = trainer.num_training_batches, trainer.fit_loop.epoch_loop.batch_progress
        if batches == math.inf and progress.is_last_batch:  # of an iterable data set without a length
            batches = progress.current.completed
        record = self.monitor.end_epoch(partial=self._batches < batches, epoch=epochs_before + 1)
        self._batches = 0
        trainer.should_stop = trainer.should_stop or self.monitor.verdict.stop
        return record
