"""Gradient-Weight Alignment in PyTorch: the functions of `gwa`, and a monitor for your own training loop.

A loop needs three lines::

    monitor = AlignmentMonitor(model, head="fc", epochs=30)     # before training
    monitor.update(labels)                                      # after each training forward pass
    record = monitor.end_epoch()                                # after each epoch; monitor.verdict says what to keep

PyTorch is no dependency of `gwa`: install the build that fits the machine. `gwa.torch.lightning` and
`gwa.torch.huggingface` hold the same as a callback.
"""

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise ImportError("gwa.torch needs PyTorch, which is not installed; see https://pytorch.org/get-started") from error

from gwa.torch.alignment import head_alignment, head_gradient_norm, sample_dissent
from gwa.torch.moments import Moments, gwa_score
from gwa.torch.monitor import AlignmentMonitor

__all__ = ["AlignmentMonitor", "Moments", "gwa_score", "head_alignment", "head_gradient_norm", "sample_dissent"]
