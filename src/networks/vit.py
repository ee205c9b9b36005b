"""Vision Transformer (Dosovitskiy et al., arXiv 2010.11929): patches as tokens, pre-norm attention and perceptrons."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen import initializers
from jax import Array

from errors import UserError
from networks.fields import COUNT, SHARE, check_fields, one_of
from networks.folding import Affine, fold, multiply_out, project_heads
from networks.layers import (
    ACTIVATIONS,
    Dense,
    DenseParameters,
    LayerNorm,
    PatchProjection,
    StochasticDepth,
    classify,
    require_whole_patches,
    stochastic_depth_rates,
)

# Widths and depths: Touvron et al., arXiv 2012.12877 (Ti, S); Dosovitskiy et al., arXiv 2010.11929 (B, L);
# Alabdulmohsin et al., arXiv 2305.13035 (So400m).
SIZES = {
    "vit_ti16": {"width": 192, "depth": 12, "mlp_dim": 768, "num_heads": 3, "patch_size": 16},
    "vit_s16": {"width": 384, "depth": 12, "mlp_dim": 1536, "num_heads": 6, "patch_size": 16},
    "vit_b16": {"width": 768, "depth": 12, "mlp_dim": 3072, "num_heads": 12, "patch_size": 16},
    "vit_l16": {"width": 1024, "depth": 24, "mlp_dim": 4096, "num_heads": 16, "patch_size": 16},
    "vit_so400m14": {"width": 1152, "depth": 27, "mlp_dim": 4304, "num_heads": 16, "patch_size": 14},
    "vit": {},  # the user sets all sizes
}

XAVIER = initializers.xavier_uniform()
PATCH_INITIALIZERS = {"xavier_uniform": XAVIER, "lecun_normal": initializers.lecun_normal()}


class Attention(nn.Module):
    """Multi-head attention of queries to tokens; self-attention if both are the same array."""

    num_heads: int

    @nn.compact
    def __call__(self, queries: Any, tokens: Any) -> Any:
        """Map queries [B, Q, D] and tokens [B, N, D] to [B, Q, D]; an Affine can be attended by itself alone."""
        batch, num_queries, width = queries.shape
        head_width = width // self.num_heads
        if isinstance(tokens, Affine):
            query, key, value, value_bias = self._project_at_once(tokens)
        else:
            query = self._split_heads(Dense(width, XAVIER, name="query")(queries))
            key = self._split_heads(Dense(width, XAVIER, name="key")(tokens))
            value = self._split_heads(Dense(width, XAVIER, name="value")(tokens))

        scores = (query / math.sqrt(head_width)) @ key.swapaxes(1, 2)
        weights = jax.nn.softmax(scores.astype(jnp.float32), axis=-1).astype(value.dtype)
        mixed = (weights @ value).reshape(batch, self.num_heads, num_queries, head_width)
        mixed = mixed.swapaxes(1, 2).reshape(batch, num_queries, width)
        joined = Affine(mixed, None, value_bias) if isinstance(tokens, Affine) else mixed
        return Dense(width, XAVIER, name="out")(joined)

    def _project_at_once(self, tokens: Affine) -> tuple[Array, Array, Array, Array]:
        """Queries, keys and values of self-attention, and the bias of the values, which they leave out."""
        width = tokens.shape[-1]
        parameters = [DenseParameters(width, XAVIER, name=name)(width) for name in ("query", "key", "value")]
        kernels, biases = (jnp.concatenate(parts, axis=-1) for parts in zip(*parameters, strict=True))
        rows, kernel, bias = fold(tokens, kernels, biases)
        query_bias, _, value_bias = jnp.split(bias, 3)
        return *project_heads(self.num_heads, rows, kernel, query_bias), value_bias

    def _split_heads(self, x: Array) -> Array:
        # Heads join the batch, so that attention is two plain batched products: the fastest form on CPU.
        batch, length, width = x.shape
        heads = x.reshape(batch, length, self.num_heads, width // self.num_heads).swapaxes(1, 2)
        return heads.reshape(batch * self.num_heads, length, -1)


class Perceptron(nn.Module):
    """Two dense layers with the activation between them."""

    hidden: int
    activation: str
    dropout: float

    @nn.compact
    def __call__(self, x: Array | Affine, *, train: bool) -> Any:
        """Map x [..., D] to the same shape."""
        y = Dense(self.hidden, XAVIER, name="expand")(x)
        y = ACTIVATIONS[self.activation](y)
        y = nn.Dropout(self.dropout)(y, deterministic=not train)
        return Dense(x.shape[-1], XAVIER, name="project")(y)


class EncoderBlock(nn.Module):
    """Pre-norm encoder block: attention and perceptron, each behind a residual connection."""

    num_heads: int
    mlp_dim: int
    activation: str
    dropout: float
    drop_rate: float

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Map tokens x [B, N, D] to the same shape."""
        y = LayerNorm(defer=True, name="attention_norm")(x)
        y = Attention(self.num_heads, name="attention")(y, y)
        x = x + self._drop(y, train=train)
        y = LayerNorm(defer=True, name="mlp_norm")(x)
        y = Perceptron(self.mlp_dim, self.activation, self.dropout, name="mlp")(y, train=train)
        return x + self._drop(y, train=train)

    def _drop(self, y: Array, *, train: bool) -> Array:
        y = nn.Dropout(self.dropout)(y, deterministic=not train)
        return StochasticDepth(self.drop_rate)(y, train=train)


class AttentionPooling(nn.Module):
    """One learned probe attends to all tokens, then a residual perceptron (Zhai et al., arXiv 2106.04560)."""

    num_heads: int
    mlp_dim: int
    activation: str
    dropout: float

    @nn.compact
    def __call__(self, tokens: Array, *, train: bool) -> Array:
        """Pool tokens [B, N, D] to [B, D]."""
        batch, _, width = tokens.shape
        probe = self.param("probe", XAVIER, (1, 1, width)).astype(tokens.dtype)
        pooled = Attention(self.num_heads, name="attention")(jnp.tile(probe, (batch, 1, 1)), tokens)[:, 0]
        y = LayerNorm(name="norm")(pooled)
        return pooled + Perceptron(self.mlp_dim, self.activation, self.dropout, name="mlp")(y, train=train)


class ViT(nn.Module):
    """Vision Transformer classifier.

    Dropout acts after the position embedding and after every dense layer except those of query, key and value (the
    original's appendix B.1).
    """

    num_classes: int
    width: int
    depth: int
    mlp_dim: int
    num_heads: int
    patch_size: int  # in pixels
    patch_init: str = "xavier_uniform"  # of the kernel that embeds patches; or lecun_normal
    position: str = "learned"  # or sincos2d
    pooling: str = "token"  # or mean, or attention
    activation: str = "gelu"  # or gelu_tanh
    dropout: float = 0.0
    stochastic_depth: float = 0.0  # drop rate of the last block, rising linearly from 0
    head_init: str = "normal"  # or zeros
    compute_dtype: str = "float32"  # or bfloat16; parameters and the head are float32 in any case

    def check(self) -> None:
        """Refuses fields that a ViT cannot have, by a UserError."""
        check_fields(self, width=COUNT, depth=COUNT, mlp_dim=COUNT, num_heads=COUNT, patch_size=COUNT, dropout=SHARE)
        check_fields(self, position=one_of("learned", "sincos2d"), pooling=one_of("token", "mean", "attention"))
        check_fields(self, patch_init=one_of(*PATCH_INITIALIZERS))
        if self.width % self.num_heads:
            raise UserError(f"network.num_heads is {self.num_heads}; it must divide network.width, {self.width}")
        if self.position == "sincos2d" and (self.width % 4 or self.width < 8):
            raise UserError(
                f"network.width is {self.width}; with network.position sincos2d it must be a multiple of 4, at least 8"
            )

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Array:
        """Map normalised images [B, H, W, C] to float32 logits [B, num_classes].

        With train=True and dropout or stochastic depth, needs the rng "dropout".

        Raises:
          UserError: the images cannot be divided into patches.
        """
        require_whole_patches(images, self.patch_size)
        patch_init = PATCH_INITIALIZERS[self.patch_init]
        x = PatchProjection(self.width, self.patch_size, kernel_init=patch_init, name="patch")(
            images.astype(self.compute_dtype)
        )
        x = nn.Dropout(self.dropout)(self._tokens(x), deterministic=not train)
        for block, rate in enumerate(stochastic_depth_rates(self.stochastic_depth, self.depth)):
            x = EncoderBlock(
                self.num_heads, self.mlp_dim, self.activation, self.dropout, drop_rate=rate, name=f"block{block}"
            )(x, train=train)
        x = LayerNorm(defer=self.pooling == "mean", name="norm")(x)
        return classify(self, self._pool(x, train=train), self.num_classes, self.head_init)

    def _tokens(self, patches: Array) -> Array:
        """Flatten patches [B, h, w, D] to tokens with positions, behind a class token if that is pooled."""
        batch, height, width, channels = patches.shape
        tokens = patches.reshape(batch, height * width, channels)
        if self.position == "sincos2d":  # the class token gets no fixed position
            tokens += jnp.asarray(sincos2d(height, width, channels), tokens.dtype)[None]
        if self.pooling == "token":
            token = self.param("class_token", initializers.zeros, (1, 1, channels)).astype(tokens.dtype)
            tokens = jnp.concatenate([jnp.tile(token, (batch, 1, 1)), tokens], axis=1)
        if self.position == "learned":
            position = self.param("position", initializers.normal(0.02), (1, *tokens.shape[1:]))
            tokens += position.astype(tokens.dtype)
        return tokens

    def _pool(self, tokens: Any, *, train: bool) -> Any:
        if self.pooling == "token":
            return tokens[:, 0]
        if self.pooling == "mean" and isinstance(tokens, Affine):
            return multiply_out(Affine(tokens.rows.astype(jnp.float32).mean(axis=1), tokens.scale, tokens.bias))
        if self.pooling == "mean":
            return tokens.astype(jnp.float32).mean(axis=1)
        pool = AttentionPooling(self.num_heads, self.mlp_dim, self.activation, self.dropout, name="pool")
        return pool(tokens, train=train)


def sincos2d(height: int, width: int, channels: int) -> np.ndarray:
    """Fixed position embedding [height * width, channels] of a grid of patches, row by row.

    A quarter of the channels each holds sin(ωx), cos(ωx), sin(ωy), cos(ωy), where ω falls geometrically from 1 to
    1/10000 (Chen et al., MoCo v3, arXiv 2104.02057, with both ends included as in Beyer et al., arXiv 2205.01580).
    `channels` is a multiple of 4 and at least 8.
    """
    frequencies = np.geomspace(1.0, 1e-4, channels // 4)
    y, x = np.indices((height, width)).reshape(2, -1)
    angles_x, angles_y = np.outer(x, frequencies), np.outer(y, frequencies)
    parts = [np.sin(angles_x), np.cos(angles_x), np.sin(angles_y), np.cos(angles_y)]
    return np.concatenate(parts, axis=1).astype(np.float32)
