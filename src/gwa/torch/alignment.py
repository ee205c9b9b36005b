"""Alignment and dissent of single samples on PyTorch tensors; `gwa.alignment` and `gwa.rules.dissent` derive them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gwa.moment_arithmetic import LABEL_DTYPES


@torch.no_grad()
def head_alignment(
    logits: Tensor, labels: Tensor, embeddings: Tensor, kernel: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Cosine between each sample's negative head gradient and the head's kernel; in [-1, 1], high = well aligned.

    The same function as `gwa.head_alignment`: in float32, also under autocast, and without a graph. As there, the score
    is NaN where something is not finite, and where a label is no class: below 0, or `classes` and above.

    Args:
      logits: `[..., classes]`, the head's output, bias included.
      labels: integers `[...]`, class indices; or floats `[..., classes]`, target distributions.
      embeddings: `[..., features]`, the head's input z.
      kernel: `[features, classes]`, the head's weights W; of an `nn.Linear` that is `weight.T`.
      bias: `[classes]`, or None for a head without.

    Returns:
      float32 `[...]`, one alignment per sample; NaN where it is not defined.

    Raises:
      ValueError: when the shapes do not fit together.

    Example:
      Two samples with the same embedding, which the head takes for class 0. The second one is labelled 1:

      >>> import torch
      >>> from gwa.torch import head_alignment
      >>> kernel = torch.eye(2)
      >>> embeddings = torch.tensor([[2.0, 0.0], [2.0, 0.0]])
      >>> alignment = head_alignment(embeddings @ kernel, torch.tensor([0, 1]), embeddings, kernel)
      >>> [f"{score:.2f}" for score in alignment]
      ['0.50', '-0.50']
    """
    _check_shapes(logits, labels, embeddings, kernel, bias)
    return alignment_given_norm(logits, labels, embeddings, norm(kernel.float()), bias)


def alignment_given_norm(
    logits: Tensor, labels: Tensor, embeddings: Tensor, kernel_norm: Tensor, bias: Tensor | None
) -> Tensor:
    """As `head_alignment`, of which the kernel enters by its norm alone: z·W is already in the logits."""
    logits = logits.float()
    products = logits if bias is None else logits - bias.float()
    if labels.is_floating_point():
        cosine_numerator, residual_norm, _ = _soft_terms(logits, _as_targets(labels), products)
    else:
        cosine_numerator, residual_norm = _hard_terms(logits, labels, products)
    defined = cosine_numerator.isfinite()
    # One division at a time: the product of the norms may leave the range of float32 where the quotient does not.
    for length in (residual_norm, norm(embeddings.float(), dim=-1), kernel_norm):
        defined &= length.isfinite()
        cosine_numerator = torch.where(length > 0, cosine_numerator / length, 0)
    return torch.where(defined, cosine_numerator, torch.nan)


@torch.no_grad()
def head_gradient_norm(logits: Tensor, labels: Tensor, embeddings: Tensor) -> Tensor:
    """Norm of each sample's gradient at the head's kernel, ‖z‖ ‖softmax(logits) − y‖: EL2N weighted by ‖z‖.

    The same function as `gwa.head_gradient_norm`.

    Returns:
      float32 `[...]`, at least 0; small = well fitted; NaN where the label is no class or something is not finite.

    Raises:
      ValueError: when the shapes do not fit together.

    Example:
      The first sample is fitted, the second one is labelled otherwise:

      >>> import torch
      >>> from gwa.torch import head_gradient_norm
      >>> embeddings = logits = torch.tensor([[2.0, 0.0], [2.0, 0.0]])
      >>> [f"{norm:.2f}" for norm in head_gradient_norm(logits, torch.tensor([0, 1]), embeddings)]
      ['0.34', '2.49']
    """
    _check_shapes(logits, labels, embeddings)
    logits = logits.float()
    if labels.is_floating_point():
        _, residual_norm, scale = _soft_terms(logits, _as_targets(labels), logits)
    else:
        _, residual_norm = _hard_terms(logits, labels, logits)
        own, _ = _own_classes(logits, labels)
        others = logits.scatter(-1, own, -torch.inf).logsumexp(-1)
        scale = torch.sigmoid(others - logits.gather(-1, own)[..., 0])  # 1 − p_y
    return norm(embeddings.float(), dim=-1) * (residual_norm * scale)


def norm(x: Tensor, dim: int | None = None) -> Tensor:
    """Euclidean norm whose squares neither overflow nor vanish: the largest entry is divided out first."""
    largest = torch.linalg.vector_norm(x, torch.inf, dim=dim, keepdim=True)
    scaled = x / torch.where(largest > 0, largest, 1)
    lengths = scaled.square().sum(dim, keepdim=True).sqrt() * largest
    return lengths.reshape(()) if dim is None else lengths.squeeze(dim)


def _own_classes(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The labels as int64 `[..., 1]`, with 0 for those that are no class; and which are one, `[...]`."""
    labels = labels.long()  # an integer dtype of 8 bits could not be compared with the number of the 256th class
    is_class = (labels >= 0) & (labels < logits.shape[-1])
    return torch.where(is_class, labels, 0)[..., None], is_class


def _as_targets(labels: Tensor) -> Tensor:
    """Target distributions as float32; NaN where one is negative."""
    targets = labels.float()
    return torch.where((targets >= 0).all(-1, keepdim=True), targets, torch.nan)


def _hard_terms(logits: Tensor, labels: Tensor, products: Tensor) -> tuple[Tensor, Tensor]:
    """−Σ_j δ_j u_j and ‖δ‖ of the residual δ divided by 1 − p_y, for class indices; the latter is NaN without a y."""
    own, is_class = _own_classes(logits, labels)
    wrong = logits.scatter(-1, own, -torch.inf).softmax(-1)
    return (
        (wrong * (products.gather(-1, own) - products)).sum(-1),
        torch.where(is_class, (1 + wrong.square().sum(-1)).sqrt(), torch.nan),
    )


def _soft_terms(logits: Tensor, targets: Tensor, products: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same for targets t, δ = Σ_j t_j softmax(logits) − t; divided by a scale, which is the last result.

    The scale is what softmax and targets leave to the other classes than that of the largest target, together.
    """
    own = targets.argmax(-1, keepdim=True)  # y
    wrong = logits.scatter(-1, own, -torch.inf)
    highest = wrong.amax(-1, keepdim=True)
    wrong = (wrong - highest).exp()
    total = wrong.sum(-1, keepdim=True)
    log_missing = F.logsigmoid(highest - logits.gather(-1, own) + total.log())  # log(1 − p_y), however small
    other_targets = targets.scatter(-1, own, 0)
    other_target = other_targets.sum(-1, keepdim=True)
    all_targets = targets.gather(-1, own) + other_target
    excess = log_missing - (other_target / all_targets).log()
    share, target_share = excess.sigmoid(), (-excess).sigmoid()
    filled = torch.where(other_target == 0, 1, other_target)
    others = (share / total) * wrong - target_share * (other_targets / filled)
    return (
        (others * (products.gather(-1, own) - products)).sum(-1),
        norm(others.scatter(-1, own, target_share - share), dim=-1),
        (all_targets * log_missing.exp() + other_target)[..., 0],
    )


@torch.no_grad()
def sample_dissent(logits: Tensor, past: Tensor, labels: Tensor) -> Tensor:
    """Dissent of single samples, p(past) − p(label) where the past contradicts the label, and 0 elsewhere.

    The same function as `gwa.rules.dissent.sample_dissent`.

    Returns:
      float32 `[...]`, in [−1, 1]; NaN where the label is no class.

    Example:
      >>> import torch
      >>> from gwa.torch import sample_dissent
      >>> logits = torch.log(torch.tensor([[0.7, 0.3], [0.7, 0.3]]))
      >>> [f"{value:.1f}" for value in sample_dissent(logits, torch.tensor([0, 1]), torch.tensor([1, 1]))]
      ['0.4', '0.0']
    """
    probabilities = logits.float().softmax(-1)
    own, is_class = _own_classes(logits, labels)
    of_past, of_label = (
        probabilities.gather(-1, classes)[..., 0] for classes in (past.clamp(min=0).long()[..., None], own)
    )
    return torch.where(is_class, torch.where((past >= 0) & (past != labels), of_past - of_label, 0), torch.nan)


def _check_shapes(
    logits: Tensor, labels: Tensor, embeddings: Tensor, kernel: Tensor | None = None, bias: Tensor | None = None
) -> None:
    classes = logits.shape[-1] if logits.ndim else 0
    if classes < 2:
        raise ValueError(f"logits must be [..., classes] with at least 2 classes, not {tuple(logits.shape)}")
    examples = logits.shape[:-1]
    features = embeddings.shape[-1] if embeddings.ndim else -1
    fitting = {
        "labels": (labels, (*examples, classes) if labels.is_floating_point() else tuple(examples)),
        "embeddings": (embeddings, (*examples, features)),
        "kernel": (kernel, (features, classes)),
        "bias": (bias, (classes,)),
    }
    for name, (tensor, shape) in fitting.items():
        if tensor is not None and tuple(tensor.shape) != shape:
            kind = f" ({LABEL_DTYPES})" if name == "labels" else ""
            raise ValueError(
                f"{name} must be {shape} beside logits {tuple(logits.shape)}, not {tuple(tensor.shape)}{kind}"
            )
