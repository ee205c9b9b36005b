"""Collects the scores of an epoch: only their moments, or every score in its row.

Both work on the device without waiting for it, and join the processes of a DistributedDataParallel run at the end.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from gwa.torch.moments import Moments

_BATCHES_AT_ONCE = 64  # joining two sets of moments costs some sixty small operations


class Batch(NamedTuple):
    """Flat, one entry per sample."""

    alignment: Tensor  # float32
    prediction: Tensor  # int64
    right: Tensor  # bool: the prediction is the label
    counted: Tensor  # bool: the label is not below 0
    dissent: Tensor  # float32 [samples, 2]: the soft and the hard form; 0 in the first epoch


class Totals(NamedTuple):
    """The result of an epoch, over all processes."""

    moments: Moments
    accuracy: float
    samples: dict[str, np.ndarray]  # `alignment` float32 [N], NaN where not seen, and `prediction` int32 [N], then −1
    dissent: tuple[float, ...] = ()  # the soft and the hard form


class RunningMoments:
    """Keeps only moments, for any number of samples without row numbers."""

    def __init__(self, device: torch.device):
        self._waiting: list[Batch] = []
        self._moments = Moments.of(torch.zeros(0, device=device))
        self._right = torch.zeros((), dtype=torch.int64, device=device)

    def add(self, batch: Batch, index: Tensor | None) -> None:
        """Adds a batch."""
        self._waiting.append(batch)
        if len(self._waiting) == _BATCHES_AT_ONCE:
            self._join_waiting()

    def finish(self) -> Totals:
        """Joins all processes."""
        self._join_waiting()
        moments, *others = map(Moments.from_vector, _gather(self._moments.to_vector()))
        for other in others:
            moments += other
        right = sum(int(count) for count in _gather(self._right))
        return Totals(moments, right / max(int(moments.count), 1), {})

    def _join_waiting(self) -> None:
        if self._waiting:
            alignment, _, right, counted, _ = map(torch.cat, zip(*self._waiting, strict=True))
            self._moments += Moments.of(alignment, where=counted)
            self._right += (right & counted).sum()
            self._waiting.clear()


class SampleRows:
    """Keeps the latest score and prediction of every row; a row that came twice counts once."""

    def __init__(self, num_examples: int, device: torch.device):
        self._alignment = torch.full((num_examples,), torch.nan, device=device)
        self._prediction = torch.full((num_examples,), -1, dtype=torch.int32, device=device)
        self._right = torch.zeros(num_examples, dtype=torch.int32, device=device)
        self._dissent = torch.zeros(num_examples, 2, device=device)

    def add(self, batch: Batch, index: Tensor | None) -> None:
        """Adds a batch that consists of the rows `index`."""
        assert index is not None
        self._alignment[index] = torch.where(batch.counted, batch.alignment, torch.nan)
        self._prediction[index] = torch.where(batch.counted, batch.prediction, -1).int()
        self._right[index] = batch.right.int()
        self._dissent[index] = batch.dissent

    def finish(self) -> Totals:
        """Joins all processes; of a row that several have seen, the values of the first one count."""
        columns = zip(*map(_gather, (self._alignment, self._prediction, self._right, self._dissent)), strict=True)
        alignment, prediction, right, dissent = next(columns)
        for other_alignment, other_prediction, other_right, other_dissent in columns:
            absent = prediction < 0
            alignment = torch.where(absent, other_alignment, alignment)
            right = torch.where(absent, other_right, right)
            dissent = torch.where(absent[:, None], other_dissent, dissent)
            prediction = torch.where(absent, other_prediction, prediction)
        seen = prediction >= 0
        moments = Moments.of(alignment, where=seen)
        samples = {"alignment": alignment.cpu().numpy(), "prediction": prediction.cpu().numpy()}
        accuracy = int(right[seen].sum()) / max(int(moments.count), 1)
        return Totals(moments, accuracy, samples, tuple(dissent[seen].double().mean(dim=0).tolist()))


def _gather(tensor: Tensor) -> list[Tensor]:
    """The tensor of every process, ordered by rank."""
    if not (dist.is_available() and dist.is_initialized()):
        return [tensor]
    tensors = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(tensors, tensor)
    return tensors
