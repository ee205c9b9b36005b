"""Alignment and dissent of single samples on PyTorch tensors; `gwa.alignment` and `gwa.rules.dissent` derive them."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def head_alignment(
    logits: Tensor, labels: Tensor, embeddings: Tensor, kernel: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Cosine between each sample's negative head gradient and the head's kernel; in [-1, 1], high = well aligned.

    The same function as `gwa.head_alignment`: in float32, also under autocast, and without a graph.

    Args:
      logits: `[..., classes]`, the head's output, bias included.
      labels: integers `[...]`, class indices; or floats `[..., classes]`, target distributions that sum to 1.
      embeddings: `[..., features]`, the head's input z.
      kernel: `[features, classes]`, the head's weights W; of an `nn.Linear` that is `weight.T`.
      bias: `[classes]`, or None for a head without.

    Returns:
      float32 `[...]`, one alignment per sample.

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
    cosine_numerator, residual_norm = _terms(logits, labels, products)
    # One division at a time: the product of the norms may leave the range of float32 where the quotient does not.
    for length in (residual_norm, norm(embeddings.float(), dim=-1), kernel_norm):
        cosine_numerator = torch.where(length > 0, cosine_numerator / length, 0)
    return cosine_numerator


@torch.no_grad()
def head_gradient_norm(logits: Tensor, labels: Tensor, embeddings: Tensor) -> Tensor:
    """Norm of each sample's gradient at the head's kernel, ‖z‖ ‖softmax(logits) − y‖: EL2N weighted by ‖z‖.

    The same function as `gwa.head_gradient_norm`.

    Returns:
      float32 `[...]`, at least 0; small = well fitted.

    Example:
      The first sample is fitted, the second one is labelled otherwise:

      >>> import torch
      >>> from gwa.torch import head_gradient_norm
      >>> embeddings = logits = torch.tensor([[2.0, 0.0], [2.0, 0.0]])
      >>> [f"{norm:.2f}" for norm in head_gradient_norm(logits, torch.tensor([0, 1]), embeddings)]
      ['0.34', '2.49']
    """
    logits = logits.float()
    _, residual_norm = _terms(logits, labels, logits)
    if not labels.is_floating_point():
        own = labels.long()[..., None]
        others = logits.scatter(-1, own, -torch.inf).logsumexp(-1)
        residual_norm = residual_norm * torch.sigmoid(others - logits.gather(-1, own)[..., 0])  # the latter is 1 − p_y
    return norm(embeddings.float(), dim=-1) * residual_norm


def norm(x: Tensor, dim: int | None = None) -> Tensor:
    """Euclidean norm whose squares neither overflow nor vanish: the largest entry is divided out first."""
    largest = torch.linalg.vector_norm(x, torch.inf, dim=dim, keepdim=True)
    scaled = x / torch.where(largest > 0, largest, 1)
    lengths = scaled.square().sum(dim, keepdim=True).sqrt() * largest
    return lengths.reshape(()) if dim is None else lengths.squeeze(dim)


def _terms(logits: Tensor, labels: Tensor, products: Tensor) -> tuple[Tensor, Tensor]:
    """−Σ_j δ_j u_j and ‖δ‖ of the residual δ; for class indices both divided by 1 − p_y."""
    if labels.is_floating_point():
        return _soft_terms(logits, labels.float(), products)
    own = labels.long()[..., None]
    wrong = logits.scatter(-1, own, -torch.inf).softmax(-1)
    return (
        (wrong * (products.gather(-1, own) - products)).sum(-1),
        (1 + wrong.square().sum(-1)).sqrt(),
    )


def _soft_terms(logits: Tensor, targets: Tensor, products: Tensor) -> tuple[Tensor, Tensor]:
    """The residual's entries sum to 0; that of the largest target cancels worst, so the others stand for it."""
    largest = targets.argmax(-1, keepdim=True)
    others = (logits.softmax(-1) - targets).scatter(-1, largest, 0)
    residual = others.scatter(-1, largest, -others.sum(-1, keepdim=True))
    return (others * (products.gather(-1, largest) - products)).sum(-1), norm(residual, dim=-1)


@torch.no_grad()
def sample_dissent(logits: Tensor, past: Tensor, labels: Tensor) -> Tensor:
    """Dissent of single samples, p(past) − p(label) where the past contradicts the label, and 0 elsewhere.

    The same function as `gwa.rules.dissent.sample_dissent`.

    Returns:
      float32 `[...]`, in [−1, 1].

    Example:
      >>> import torch
      >>> from gwa.torch import sample_dissent
      >>> logits = torch.log(torch.tensor([[0.7, 0.3], [0.7, 0.3]]))
      >>> [f"{value:.1f}" for value in sample_dissent(logits, torch.tensor([0, 1]), torch.tensor([1, 1]))]
      ['0.4', '0.0']
    """
    probabilities = logits.float().softmax(-1)
    of_past, of_label = (
        probabilities.gather(-1, classes.long()[..., None])[..., 0] for classes in (past.clamp(min=0), labels)
    )
    return torch.where((past >= 0) & (past != labels), of_past - of_label, 0)


def _check_shapes(logits: Tensor, labels: Tensor, embeddings: Tensor, kernel: Tensor, bias: Tensor | None) -> None:
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
            raise ValueError(f"{name} must be {shape} beside logits {tuple(logits.shape)}, not {tuple(tensor.shape)}")
