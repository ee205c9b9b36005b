"""Collects the scores of an epoch: only their moments, or every score in its row.

Both work on the device without waiting for it, and join the processes of a DistributedDataParallel run at the end, or
where the state of an epoch that has begun is asked for.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from gwa.torch.moments import Moments, gwa_score

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
        moments, right = self._join_processes()
        return Totals(moments, int(right) / max(int(moments.count), 1), {})

    def state_dict(self) -> dict[str, Tensor]:
        """What all processes have collected so far."""
        moments, right = self._join_processes()
        return {"moments": moments.to_vector().cpu(), "right": right.cpu()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continues from there; the first process keeps it for all."""
        if _is_first():
            self._moments = Moments.from_vector(state["moments"].to(self._right.device))
            self._right = state["right"].to(self._right)

    def _join_processes(self) -> tuple[Moments, Tensor]:
        self._join_waiting()
        moments, *others = map(Moments.from_vector, _gather(self._moments.to_vector()))
        for other in others:
            moments += other
        return moments, torch.stack(_gather(self._right)).sum()

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
        self._lowest = torch.zeros((), dtype=torch.int64, device=device)

    def add(self, batch: Batch, index: Tensor | None) -> None:
        """Adds a batch that consists of the rows `index`."""
        assert index is not None
        if len(index):
            self._lowest = torch.minimum(self._lowest, index.min())  # read in `finish`, so that nothing waits here
        self._alignment[index] = torch.where(batch.counted, batch.alignment, torch.nan)
        self._prediction[index] = torch.where(batch.counted, batch.prediction, -1).int()
        self._right[index] = batch.right.int()
        self._dissent[index] = batch.dissent

    def finish(self) -> Totals:
        """Joins all processes; of a row that several have seen, the values of the first one count.

        Raises:
          ValueError: when `index` had negative rows.
        """
        lowest = int(torch.stack(_gather(self._lowest)).min())  # of all processes, which end together
        if lowest < 0:
            raise ValueError(f"update: index had the row {lowest}; rows are numbered from 0")
        alignment, prediction, right, dissent = self._join_processes()
        seen = prediction >= 0
        moments = Moments.of(alignment, where=seen)
        samples = {"alignment": alignment.cpu().numpy(), "prediction": prediction.cpu().numpy()}
        accuracy = int(right[seen].sum()) / max(int(moments.count), 1)
        return Totals(moments, accuracy, samples, tuple(dissent[seen].double().mean(dim=0).tolist()))

    def state_dict(self) -> dict[str, Tensor]:
        """What all processes have collected so far."""
        columns = zip(("alignment", "prediction", "right", "dissent"), self._join_processes(), strict=True)
        return {name: column.to("cpu", copy=True) for name, column in columns}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continues from there; the first process keeps it for all."""
        if _is_first():
            for name, column in state.items():
                getattr(self, f"_{name}").copy_(column)

    def _join_processes(self) -> tuple[Tensor, ...]:
        columns = zip(*map(_gather, (self._alignment, self._prediction, self._right, self._dissent)), strict=True)
        alignment, prediction, right, dissent = next(columns)
        for other_alignment, other_prediction, other_right, other_dissent in columns:
            absent = prediction < 0
            alignment = torch.where(absent, other_alignment, alignment)
            right = torch.where(absent, other_right, right)
            dissent = torch.where(absent[:, None], other_dissent, dissent)
            prediction = torch.where(absent, other_prediction, prediction)
        return alignment, prediction, right, dissent


def summarize(moments: Moments) -> dict[str, Any]:
    """GWA and what it is made of, as in a record."""
    return {
        "gwa": float(gwa_score(moments)),
        "alignment_mean": float(moments.mean),
        "alignment_variance": float(moments.variance),
        "excess_kurtosis": float(moments.excess_kurtosis),
        "num_samples": int(moments.count),
        "non_finite_alignments": int(moments.non_finite),
    }


def compare(before: dict[str, np.ndarray], now: dict[str, np.ndarray]) -> dict[str, Any]:
    """Number and share of the rows whose prediction has changed since the epoch before, among rows seen in both."""
    if not before:
        return {"prediction_changes": None, "prediction_churn": None}
    both = (before["prediction"] >= 0) & (now["prediction"] >= 0)
    changes = int(np.sum(before["prediction"][both] != now["prediction"][both]))
    return {"prediction_changes": changes, "prediction_churn": changes / max(int(both.sum()), 1)}


def _is_first() -> bool:
    return not (dist.is_available() and dist.is_initialized()) or dist.get_rank() == 0


def _gather(tensor: Tensor) -> list[Tensor]:
    """The tensor of every process, ordered by rank."""
    if not (dist.is_available() and dist.is_initialized()):
        return [tensor]
    tensors = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(tensors, tensor)
    return tensors
