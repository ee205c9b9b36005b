"""What a forward pass of training leaves for the scores, and the scores that follow from it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gwa.torch.alignment import alignment_given_norm, sample_dissent
from gwa.torch.epoch import Batch


class ForwardPass(NamedTuple):
    """What the scores need from a forward pass, with the parameters of that moment and without the graph."""

    logits: Tensor
    embeddings: Tensor
    weight_norm: Tensor
    bias: Tensor | None


def score(each: ForwardPass, labels: Tensor, past: Tensor | None) -> Batch:
    """Scores and predictions of a forward pass; `past` is int32 `[batch]`, the classes that past epochs vote for."""
    classes = labels.argmax(-1) if labels.is_floating_point() else labels
    counted = classes >= 0
    alignment = alignment_given_norm(each.logits, labels, each.embeddings, each.weight_norm, each.bias)
    prediction = each.logits.argmax(-1)
    right = prediction == classes
    dissent = torch.zeros(right.numel(), 2, device=right.device)
    if past is not None:
        against = (past >= 0) & (past != classes)
        hard = torch.where(against, (prediction == past).float() - right.float(), 0)
        dissent = torch.stack([sample_dissent(each.logits, past, classes), hard], dim=-1)
    return Batch(alignment.ravel(), prediction.ravel(), right.ravel(), counted.ravel(), dissent)
