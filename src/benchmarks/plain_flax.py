"""The layers of our networks as Flax and automatic differentiation give them, of the same parameters."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any, cast
from unittest import mock

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from networks import folding, functional, layers


@contextlib.contextmanager
def plain_layers() -> Iterator[None]:
    """Networks that are traced within the block have plain layers."""
    plain = mock.patch.multiple(functional, **FORMS), mock.patch.dict(layers.ACTIVATIONS, gelu=gelu)
    with plain[0], plain[1], mock.patch.object(folding, "folds", return_value=False):
        yield


gelu = partial(nn.gelu, approximate=False)


def dense(x: Array, kernel: Array, bias: Array) -> Array:
    """As `functional.dense`."""
    return cast(Array, nn.Dense(kernel.shape[1]).apply({"params": {"kernel": kernel, "bias": bias}}, x))


def layer_norm(x: Array, scale: Array, bias: Array) -> Array:
    """As `functional.layer_norm`."""
    norm = nn.LayerNorm(epsilon=functional.NORM_EPSILON, use_fast_variance=False)
    return cast(Array, norm.apply({"params": {"scale": scale, "bias": bias}}, x))


def response_norm(x: Array, gamma: Array, beta: Array) -> Array:
    """As `functional.global_response_norm`: equations 1 to 3 of Woo et al., arXiv 2301.00808."""
    norm = jnp.sqrt(jnp.sum(x**2, axis=1, keepdims=True))
    response = norm / (jnp.mean(norm, axis=2, keepdims=True) + functional.NORM_EPSILON)
    return gamma.reshape(1, 1, -1) * (x * response) + beta.reshape(1, 1, -1) + x


def depthwise_conv(x: Array, kernel: Array) -> Array:
    """As `functional.depthwise_conv`."""
    conv = nn.Conv(x.shape[-1], kernel.shape[:2], feature_group_count=x.shape[-1], use_bias=False)
    return cast(Array, conv.apply({"params": {"kernel": kernel}}, x))


FORMS: dict[str, Any] = {
    "dense": dense,
    "layer_norm": layer_norm,
    "global_response_norm": response_norm,
    "depthwise_conv": depthwise_conv,
}
