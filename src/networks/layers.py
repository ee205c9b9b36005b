"""The layers of our networks, which compute in the dtype of their input, and the float32 head.

A layer with `defer` leaves its scale and bias to the next one, where that saves time (see folding.py).

Parameters are float32 and are cast where they are used. Their names and shapes are those of nn.Dense, nn.Conv and
nn.LayerNorm; only the formulation differs (see functional.py), so a checkpoint fits both.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen import initializers
from jax import Array

from errors import UserError
from networks import folding, functional
from networks.folding import Affine

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": functional.gelu,
    "gelu_tanh": partial(nn.gelu, approximate=True),
}

TRUNCATED_NORMAL = initializers.truncated_normal(0.02)  # cut off at two standard deviations
HEAD_INITIALIZERS = {"normal": TRUNCATED_NORMAL, "zeros": initializers.zeros}


class Dense(nn.Module):
    """Affine map of the last axis, [..., C] -> [..., features]."""

    features: int
    kernel_init: initializers.Initializer = TRUNCATED_NORMAL
    defer: bool = False

    @nn.compact
    def __call__(self, x: Array | Affine) -> Any:  # an Array or, with defer, an Affine
        """Map x [..., C] to [..., features]."""
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        bias = self.param("bias", initializers.zeros, (self.features,))
        rows, kernel, bias = folding.fold(x, kernel, bias)
        if self.defer and folding.folds():
            return Affine(functional.dense(rows, kernel, jnp.zeros_like(bias)), None, bias)
        return functional.dense(rows, kernel, bias)


class DenseParameters(nn.Module):
    """The parameters of a `Dense`, for a layer that multiplies with several at once."""

    features: int
    kernel_init: initializers.Initializer = TRUNCATED_NORMAL

    @nn.compact
    def __call__(self, channels: int) -> tuple[Array, Array]:
        """Kernel [channels, features] and bias [features]."""
        kernel = self.param("kernel", self.kernel_init, (channels, self.features))
        return kernel, self.param("bias", initializers.zeros, (self.features,))


class LayerNorm(nn.Module):
    """Layer normalisation of the last axis, ε = 1e-6, statistics in float32."""

    defer: bool = False

    @nn.compact
    def __call__(self, x: Array | Affine) -> Any:  # an Array or, with defer, an Affine
        """Normalise x [..., C]; same shape and dtype."""
        channels = x.shape[-1]
        scale = self.param("scale", initializers.ones, (channels,))
        bias = self.param("bias", initializers.zeros, (channels,))
        rows, added = (x.rows, x.bias) if isinstance(x, Affine) else (x, jnp.zeros(channels))
        if not folding.folds():
            return functional.layer_norm(rows.reshape(-1, channels), scale, bias).reshape(x.shape)
        normalised = folding.normalize(rows.reshape(-1, channels), added).reshape(x.shape)
        deferred = Affine(normalised, scale, bias)
        return deferred if self.defer else folding.multiply_out(deferred)


class GlobalResponseNorm(nn.Module):
    """Activation, and competition between channels by their norms over the image (ConvNeXt V2).

    The competition is the identity at initialisation.
    """

    activation: str

    @nn.compact
    def __call__(self, x: Array | Affine) -> Any:  # an Array, or an Affine of an Affine
        """Activate and normalise x [B, H, W, C]; same shape and dtype. An Affine may be deferred, too."""
        batch, channels = x.shape[0], x.shape[-1]
        gamma = self.param("gamma", initializers.zeros, (channels,))
        beta = self.param("beta", initializers.zeros, (channels,))
        activation = ACTIVATIONS[self.activation]
        if not isinstance(x, Affine):
            y = activation(x).reshape(batch, -1, channels)
            return functional.global_response_norm(y, gamma, beta).reshape(x.shape)
        rows = x.rows.reshape(batch, -1, channels)
        # A kernel of its own for each sample is smaller than the image where this has more positions than features.
        if 2 * rows.shape[1] >= channels:
            y, norm = folding.activate(activation, rows, x.bias)
            return Affine(y.reshape(x.shape), folding.response_scale(norm, gamma), beta)
        return Affine(folding.respond(activation, rows, x.bias, gamma).reshape(x.shape), None, beta)


class DepthwiseConv(nn.Module):
    """One filter per channel, same size, kernel [k, k, 1, C]."""

    kernel_size: int
    defer: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Any:  # an Array or, with defer, an Affine
        """Convolve x [B, H, W, C]; same shape and dtype."""
        channels = x.shape[-1]
        kernel = self.param("kernel", TRUNCATED_NORMAL, (self.kernel_size, self.kernel_size, 1, channels))
        bias = self.param("bias", initializers.zeros, (channels,))
        y = functional.depthwise_conv(x, kernel)
        if self.defer and folding.folds():
            return Affine(y, None, bias)
        return y + bias.astype(x.dtype)[None, None, None]


class PatchProjection(nn.Module):
    """Convolution whose stride is its size, kernel [p, p, C, features].

    Rows and columns that do not fill a patch are left out, as in a VALID convolution.
    """

    features: int
    patch_size: int
    use_bias: bool = True
    kernel_init: initializers.Initializer = TRUNCATED_NORMAL

    @nn.compact
    def __call__(self, x: Array | Affine) -> Array:
        """Map x [B, H, W, C] to [B, H // p, W // p, features]."""
        size, channels = self.patch_size, x.shape[3]
        kernel = self.param("kernel", self._initialise_kernel, (size, size, channels, self.features))
        bias = self.param("bias", initializers.zeros, (self.features,)) if self.use_bias else None
        if isinstance(x, Affine):
            rows = kernel.reshape(size * size, channels, self.features)
            offsets = jnp.einsum("c,pcf->f", x.bias, rows, precision=jax.lax.Precision.HIGHEST)
            bias = offsets if bias is None else bias + offsets
            kernel = kernel if x.scale is None else x.scale[None, None, :, None] * kernel
            x = x.rows
        y = functional.project_patches(x[:, : x.shape[1] // size * size, : x.shape[2] // size * size], kernel)
        return y if bias is None else y + bias.astype(x.dtype)[None, None, None]

    def _initialise_kernel(self, key: Array, shape: tuple[int, ...]) -> Array:
        # Initialised as the matrix that multiplies patches: its fan-out is the features, not features times pixels.
        return self.kernel_init(key, (int(np.prod(shape[:-1])), shape[-1])).reshape(shape)


class StochasticDepth(nn.Module):
    """Leave a residual branch out for whole samples, scaling the others by 1/keep (Huang et al., arXiv 1603.09382)."""

    rate: float

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Drop samples of x [B, ...] with probability `rate` in training, by the rng "dropout"."""
        return nn.Dropout(self.rate, broadcast_dims=tuple(range(1, x.ndim)))(x, deterministic=not train)


def stochastic_depth_rates(final_rate: float, num_blocks: int) -> list[float]:
    """Drop rates that rise linearly from 0 at the first block to `final_rate` at the last, or at a single one."""
    return np.linspace(final_rate, 0.0, num_blocks)[::-1].tolist()


def require_whole_patches(images: Array, patch_size: int) -> None:
    """Refuse images [B, H, W, C] with a side that is no multiple of `patch_size`, by a UserError."""
    height, width = images.shape[1:3]
    if height % patch_size or width % patch_size:
        raise UserError(
            f"network.patch_size is {patch_size}, but the images are {height}×{width} pixels: "
            "both sides must be multiples of it"
        )


def classify(network: nn.Module, embeddings: Array, num_classes: int, head_init: str) -> Array:
    """Sow the embeddings [B, D] and map them to logits [B, num_classes], all in float32.

    Call it in the compact `__call__` of `network`. The head's parameters are then `head/kernel` and `head/bias` at the
    top level, and `apply(..., mutable=["latent_embeddings"])` returns the embeddings as the only leaf of that
    collection.
    """
    embeddings = embeddings.astype(jnp.float32)
    network.sow("latent_embeddings", "embeddings", embeddings)
    # The alignment is computed from the logits: they must not be rounded to the ten bits that accelerators default to.
    head = nn.Dense(
        num_classes, kernel_init=HEAD_INITIALIZERS[head_init], precision=jax.lax.Precision.HIGHEST, name="head"
    )
    return head(embeddings)
