"""Networks of Hugging Face's transformers of the sizes of ours, and their training step in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import ConvNextV2Config, ConvNextV2ForImageClassification, ViTConfig, ViTForImageClassification

IMAGE, CLASSES = 32, 10
SIZES = {"image_size": IMAGE, "num_labels": CLASSES}


def build_twins() -> dict[str, nn.Module]:
    """By the variants of `configs/cifar10_small.py`; depthwise convolutions are cut from 7×7 to its 3×3."""
    torch.manual_seed(0)
    convnext = ConvNextV2Config(**SIZES, patch_size=2, num_stages=3, depths=[2, 2, 2], hidden_sizes=[32, 64, 128])
    vit = ViTConfig(
        **SIZES, patch_size=4, hidden_size=128, num_hidden_layers=4, num_attention_heads=4, intermediate_size=256
    )
    networks = {"convnext": ConvNextV2ForImageClassification(convnext), "vit": ViTForImageClassification(vit)}
    for module in networks["convnext"].modules():
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            module.weight = nn.Parameter(module.weight[:, :, 2:5, 2:5].detach().clone())
            module.kernel_size, module.padding = (3, 3), (1, 1)
    return networks


def make_step(model: nn.Module, batch: int, monitor: Any = None) -> Callable[[], None]:
    """A program that trains on one random batch, and tells the monitor."""
    images, labels = torch.randn(batch, 3, IMAGE, IMAGE), torch.randint(0, CLASSES, (batch,))
    optimizer, index = torch.optim.AdamW(model.parameters(), 1e-3), torch.arange(batch)
    model.train()

    def step() -> None:
        loss = nn.functional.cross_entropy(model(images).logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if monitor is not None:
            monitor.update(labels, index)

    return step
