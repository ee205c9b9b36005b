"""The layers' arithmetic for accelerators, where a step's time goes into passes over its activations.

What a norm multiplies and adds is folded into the kernel of the layer that follows: for normalised rows n,
(n·s + t) K + b = n (s∘K) + (tK + b). Then no pass applies it, and no pass sums its gradient, which automatic
differentiation finds from that of the kernel. Derivatives are written out where they compute something again that would
otherwise be written and read; `_read_again` keeps XLA from doing so after all. On CPUs passes are cheap, and the forms
of `functional` are used. The tests compare both.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from networks.functional import NORM_EPSILON

Activation = Callable[[Array], Array]


def folds() -> bool:
    """Whether layers leave what they multiply and add to the next one."""
    return jax.default_backend() != "cpu"


class Affine(NamedTuple):
    """The array rows · scale + bias, before it is multiplied out.

    Attributes:
      rows: [B, ..., C].
      scale: [C], or [B, C] of single samples; None for 1.
      bias: [C].
    """

    rows: Array
    scale: Array | None
    bias: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """[B, ..., C]."""
        return self.rows.shape


def fold(x: Array | Affine, kernel: Array, bias: Array) -> tuple[Array, Array, Array]:
    """Rows, kernel and bias of the same affine map: kernel [C, D], or [B, C, D] of single samples, and bias [D]."""
    if not isinstance(x, Affine):
        return x, kernel, bias
    bias = bias + jnp.matmul(x.bias, kernel, precision=jax.lax.Precision.HIGHEST)
    if x.scale is None:
        return x.rows, kernel, bias
    return x.rows, x.scale[..., None] * jnp.expand_dims(kernel, range(x.scale.ndim - 1)), bias


def multiply_out(x: Affine) -> Array:
    """The array rows · scale + bias, for a scale [C], in the dtype of the rows."""
    assert x.scale is not None
    leading = range(x.rows.ndim - 1)
    y = x.rows * jnp.expand_dims(x.scale, leading) + jnp.expand_dims(x.bias, leading)
    return y.astype(x.rows.dtype)


@jax.custom_vjp
def normalize(x: Array, bias: Array) -> Array:
    """Rows x [N, C] + bias [C], each shifted and divided so that its mean is 0 and its deviation 1.

    The derivative saves x alone, and computes the statistics again.
    """
    return _normalize(x, bias)[0].astype(x.dtype)


def _normalize(x: Array, bias: Array) -> tuple[Array, Array]:
    x32 = x.astype(jnp.float32) + bias[None]
    mean = x32.mean(axis=1, keepdims=True)
    variance = jnp.square(x32 - mean).mean(axis=1, keepdims=True)
    reciprocal = jax.lax.rsqrt(variance + NORM_EPSILON)
    return (x32 - mean) * reciprocal, reciprocal


def _normalize_forward(x: Array, bias: Array) -> tuple[Array, tuple[Array, Array]]:
    return normalize(x, bias), (x, bias)


def _normalize_backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, bias = saved
    normalised, reciprocal = _normalize(_read_again(x, gradient), bias)
    gradient = gradient.astype(jnp.float32)
    shift = gradient.mean(axis=1, keepdims=True)
    stretch = (gradient * normalised).mean(axis=1, keepdims=True)
    dx = reciprocal * (gradient - shift - normalised * stretch)
    return dx.astype(x.dtype), dx.sum(axis=0)


normalize.defvjp(_normalize_forward, _normalize_backward)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def activate(activation: Activation, x: Array, bias: Array) -> tuple[Array, Array]:
    """The activation y of x [B, P, C] + bias [C], and the float32 norms [B, C] of its channels over P positions.

    The derivative saves x and the norms. Where a norm is 0, its own is taken as 0.
    """
    y = activation(x + bias.astype(x.dtype)[None, None])
    return y, jnp.sqrt(jnp.square(y.astype(jnp.float32)).sum(axis=1))


def _activate_forward(activation: Activation, x: Array, bias: Array) -> tuple[tuple[Array, Array], tuple[Array, ...]]:
    y, norm = activate(activation, x, bias)
    return (y, norm), (x, bias, norm)


def _activate_backward(
    activation: Activation, saved: tuple[Array, ...], gradients: tuple[Array, Array]
) -> tuple[Array, Array]:
    x, bias, norm = saved
    gradient, d_norm = gradients
    y, pull = _activate_again(activation, x, bias, gradient)
    return pull(gradient.astype(jnp.float32) + y * _per_value(norm, d_norm))


activate.defvjp(_activate_forward, _activate_backward)


def response_scale(norm: Array, gamma: Array) -> Array:
    """1 + γN [B, C] of global response normalisation: N is the norm [B, C] divided by its mean over the channels."""
    return 1.0 + gamma[None] * norm / (norm.mean(axis=1, keepdims=True) + NORM_EPSILON)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def respond(activation: Activation, x: Array, bias: Array, gamma: Array) -> Array:
    """The activation y of x [B, P, C] + bias [C], times 1 + γN with γ [C].

    The derivative saves x and the norms of the channels: y itself is never written.
    """
    return _respond_forward(activation, x, bias, gamma)[0]


def _respond_forward(activation: Activation, x: Array, bias: Array, gamma: Array) -> tuple[Array, tuple[Array, ...]]:
    _, norm = activate(activation, x, bias)
    y, _ = _activate_again(activation, x, bias, norm)
    return (y * response_scale(norm, gamma)[:, None]).astype(x.dtype), (x, bias, norm, gamma)


def _respond_backward(activation: Activation, saved: tuple[Array, ...], gradient: Array) -> tuple[Array, Array, Array]:
    x, bias, norm, gamma = saved
    y, pull = _activate_again(activation, x, bias, gradient)
    gradient = gradient.astype(jnp.float32)
    scale, pull_scale = jax.vjp(response_scale, norm, gamma)
    d_norm, d_gamma = pull_scale((y * gradient).sum(axis=1))
    return *pull(gradient * scale[:, None] + y * _per_value(norm, d_norm)), d_gamma


respond.defvjp(_respond_forward, _respond_backward)


def _activate_again(
    activation: Activation, x: Array, bias: Array, after: Array
) -> tuple[Array, Callable[[Array], tuple[Array, Array]]]:
    """The float32 activation of x + bias, and what turns its gradient into those of x and bias."""
    y, pull = jax.vjp(activation, _read_again(x, after) + bias.astype(x.dtype)[None, None])

    def pull_both(gradient: Array) -> tuple[Array, Array]:
        (dx,) = pull(gradient.astype(x.dtype))
        return dx, dx.astype(jnp.float32).sum(axis=1).sum(axis=0)

    return y.astype(jnp.float32), pull_both


def _read_again(x: Array, after: Array) -> Array:
    """The array x behind a barrier: XLA computes from it anew, after `after`, instead of keeping intermediates."""
    return jax.lax.optimization_barrier((x, after))[0]


def _per_value(norm: Array, d_norm: Array) -> Array:
    """What is multiplied with y for the gradient of its norms [B, C]: [B, 1, C]. d‖y‖/dy = y/‖y‖, and 0 at 0."""
    return jnp.where(norm > 0, d_norm / jnp.where(norm > 0, norm, 1.0), 0.0)[:, None]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def project_heads(num_heads: int, x: Array, kernel: Array, query_bias: Array) -> tuple[Array, Array, Array]:
    """Queries, keys and values [B · heads, N, D / heads] of x [B, N, C]; kernel [C, 3D], and query_bias [D].

    Keys and values have no bias. One of the keys would change nothing, as softmax does not see what all scores of a
    query share. One of the values is added by whoever reads them: the weights of a query sum to 1.
    The derivative makes one product of the three.
    """
    batch, length, _ = x.shape
    rows = x.reshape(-1, x.shape[-1])
    query, key, value = (rows @ part.astype(x.dtype) for part in jnp.split(kernel, 3, axis=1))
    query += query_bias.astype(x.dtype)[None]

    def split(y: Array) -> Array:
        return y.reshape(batch, length, num_heads, -1).swapaxes(1, 2).reshape(batch * num_heads, length, -1)

    return split(query), split(key), split(value)


def _project_heads_forward(
    num_heads: int, x: Array, kernel: Array, query_bias: Array
) -> tuple[tuple[Array, Array, Array], tuple[Array, Array]]:
    return project_heads(num_heads, x, kernel, query_bias), (x, kernel)


def _project_heads_backward(
    num_heads: int, saved: tuple[Array, Array], gradients: tuple[Array, Array, Array]
) -> tuple[Array, Array, Array]:
    x, kernel = saved
    batch, length, channels = x.shape
    parts = jnp.stack(gradients).reshape(3, batch, num_heads, length, -1)
    joined = parts.transpose(1, 3, 0, 2, 4).reshape(batch * length, -1)
    dx = (joined @ kernel.astype(x.dtype).T).reshape(x.shape)
    d_kernel = x.reshape(-1, channels).T @ joined
    d_bias = gradients[0].reshape(batch, num_heads, length, -1).astype(jnp.float32).sum(axis=(0, 2)).ravel()
    return dx, d_kernel.astype(kernel.dtype), d_bias


project_heads.defvjp(_project_heads_forward, _project_heads_backward)
