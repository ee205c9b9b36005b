"""The arithmetic of the layers as pure functions, in the forms that XLA compiles best, with derivatives by hand.

A derivative is written out where it needs less memory than automatic differentiation: each function says what it saves.
Statistics and transcendental functions are always computed in float32, and the result has the dtype of the input. The
tests compare every function with its plain Flax form.
"""

import math

import jax
import jax.numpy as jnp
from jax import Array

NORM_EPSILON = 1e-6


@jax.custom_vjp
def gelu(x: Array) -> Array:
    """Exact Gaussian error linear unit x·Φ(x) of any shape (Hendrycks and Gimpel, arXiv 1606.08415).

    The derivative Φ(x) + x·φ(x) saves x alone.
    """
    x32 = x.astype(jnp.float32)
    return (x32 * _normal_cdf(x32)).astype(x.dtype)


def _normal_cdf(x: Array) -> Array:
    return 0.5 * (1.0 + jax.lax.erf(x * math.sqrt(0.5)))


def _gelu_forward(x: Array) -> tuple[Array, Array]:
    return gelu(x), x


def _gelu_backward(x: Array, gradient: Array) -> tuple[Array]:
    x32 = x.astype(jnp.float32)
    density = jnp.exp(-0.5 * x32 * x32) / math.sqrt(2 * math.pi)
    slope = _normal_cdf(x32) + x32 * density
    return ((gradient.astype(jnp.float32) * slope).astype(x.dtype),)


gelu.defvjp(_gelu_forward, _gelu_backward)


def dense(x: Array, kernel: Array, bias: Array) -> Array:
    """Affine map of the last axis of x [..., C], as one two-dimensional product; kernel [C, D], bias [D].

    On CPU, XLA has a fast path for the weight gradient of a product with one leading axis, and none for several.
    With a kernel [B, C, D], sample b of x [B, ..., C] is multiplied with kernel b.
    """
    samples = kernel.shape[:-2]
    rows = x.reshape(*samples, -1, x.shape[-1]) @ kernel.astype(x.dtype)
    rows += jnp.expand_dims(bias.astype(x.dtype), range(rows.ndim - 1))
    return rows.reshape(*x.shape[:-1], kernel.shape[-1])


@jax.custom_vjp
def layer_norm(x: Array, scale: Array, bias: Array) -> Array:
    """Layer normalisation of rows [N, C] with scale and bias [C] (Ba et al., arXiv 1607.06450).

    The derivative saves x and each row's mean and reciprocal deviation. Without one, as in evaluation, the norm has a
    loop of its own.
    """
    return _set_apart(_layer_norm_forward(_set_apart(x), scale, bias)[0])


def _set_apart(x: Array) -> Array:
    """The array x, which XLA's CPU compiler does not compute within the sums and products that read it.

    jaxlib 0.10 would compute a depthwise convolution within the mean of the norm behind it, and the norm within the
    next product, for which it has slower kernels. They have none for `clamp`.
    """
    infinity = jnp.asarray(jnp.inf, x.dtype)
    return jax.lax.clamp(-infinity, x, infinity)


def _layer_norm_forward(x: Array, scale: Array, bias: Array) -> tuple[Array, tuple[Array, Array, Array, Array]]:
    x32 = x.astype(jnp.float32)
    mean = x32.mean(axis=1, keepdims=True)
    # Two passes: E[x²] − E[x]² cancels when the mean is large against the deviation.
    variance = jnp.square(x32 - mean).mean(axis=1, keepdims=True)
    reciprocal = jax.lax.rsqrt(variance + NORM_EPSILON)
    y = (x32 - mean) * reciprocal * scale[None] + bias[None]
    return y.astype(x.dtype), (x, scale, mean, reciprocal)


def _layer_norm_backward(saved: tuple[Array, Array, Array, Array], gradient: Array) -> tuple[Array, Array, Array]:
    x, scale, mean, reciprocal = saved
    gradient = gradient.astype(jnp.float32)
    normalised = (x.astype(jnp.float32) - mean) * reciprocal
    inner = gradient * scale[None]
    shift = inner.mean(axis=1, keepdims=True)
    stretch = (inner * normalised).mean(axis=1, keepdims=True)
    dx = reciprocal * (inner - shift - normalised * stretch)
    return dx.astype(x.dtype), (gradient * normalised).sum(axis=0), gradient.sum(axis=0)


layer_norm.defvjp(_layer_norm_forward, _layer_norm_backward)


@jax.custom_vjp
def global_response_norm(x: Array, gamma: Array, beta: Array) -> Array:
    """Global response normalisation x·(1 + γN) + β of x [B, P, C] over its P positions; γ and β are [C].

    N is each channel's L2 norm G over the positions, divided by the mean of G over the channels (Woo et al.,
    ConvNeXt V2, arXiv 2301.00808, section 3.2). The derivative saves x and [B, C] statistics; where G is 0, its own
    is taken as 0.
    """
    return _response_norm_forward(x, gamma, beta)[0]


def _response_norm_forward(x: Array, gamma: Array, beta: Array) -> tuple[Array, tuple[Array, Array, Array, Array]]:
    x32 = x.astype(jnp.float32)
    norm = jnp.sqrt(jnp.square(x32).sum(axis=1, keepdims=True))
    average = norm.mean(axis=2, keepdims=True) + NORM_EPSILON
    y = x32 * (1.0 + gamma[None, None] * norm / average) + beta[None, None]
    return y.astype(x.dtype), (x, gamma, norm, average)


def _response_norm_backward(saved: tuple[Array, Array, Array, Array], gradient: Array) -> tuple[Array, Array, Array]:
    x, gamma, norm, average = saved
    x32, gradient = x.astype(jnp.float32), gradient.astype(jnp.float32)
    response = norm / average
    d_scaled = (gradient * x32).sum(axis=1, keepdims=True)  # with respect to γN
    d_response = gamma[None, None] * d_scaled
    d_norm = (d_response - (d_response * response).mean(axis=2, keepdims=True)) / average
    # dG/dx = x/G; a channel that is zero everywhere has x = G = 0 and gets the subgradient 0.
    per_x = jnp.where(norm > 0, d_norm / jnp.where(norm > 0, norm, 1.0), 0.0)
    dx = gradient * (1.0 + gamma[None, None] * response) + x32 * per_x
    return dx.astype(x.dtype), (d_scaled * response).sum(axis=(0, 1)), gradient.sum(axis=(0, 1))


global_response_norm.defvjp(_response_norm_forward, _response_norm_backward)


def project_patches(x: Array, kernel: Array) -> Array:
    """Convolve x [B, H, W, C] with kernel [p, p, C, D] at steps of p, to [B, H / p, W / p, D].

    Only this function chooses the formulation. On CPUs every patch is one row of a product; accelerators would write
    the rows first.
    """
    size, _, channels, features = kernel.shape[0], *kernel.shape[1:]
    kernel = kernel.astype(x.dtype)
    if jax.default_backend() != "cpu" and size > 1:
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (size, size), "VALID", dimension_numbers=layout)
    height, width = x.shape[1] // size, x.shape[2] // size
    rows = x.reshape(-1, height, size, width, size, channels).transpose(0, 1, 3, 2, 4, 5)
    y = rows.reshape(-1, size * size * channels) @ kernel.reshape(-1, features)
    return y.reshape(-1, height, width, features)


def depthwise_conv(x: Array, kernel: Array) -> Array:
    """Convolve each channel of x [B, H, W, C] with its own filter, kernel [k, k, 1, C]; same size, zeros outside.

    Only this function chooses the formulation. XLA's CPU backend computes the weight gradient of a grouped convolution
    as a dense one, which takes about twice as long as the sum of shifts; accelerators have kernels for it.
    """
    return depthwise_conv_shifts(x, kernel) if jax.default_backend() == "cpu" else depthwise_conv_lax(x, kernel)


def depthwise_conv_shifts(x: Array, kernel: Array) -> Array:
    """The depthwise convolution as a sum of shifted copies of x, one per entry of the filter."""
    height, width = x.shape[1:3]
    size = kernel.shape[0]
    before, after = (size - 1) // 2, size // 2
    padded = jnp.pad(x, ((0, 0), (before, after), (before, after), (0, 0))).astype(jnp.float32)
    kernel = kernel.astype(jnp.float32)
    total = jnp.zeros(x.shape, jnp.float32)
    for row in range(size):
        for column in range(size):
            shifted = padded[:, row : row + height, column : column + width]
            total += shifted * kernel[row : row + 1, column : column + 1]
    return total.astype(x.dtype)


def depthwise_conv_lax(x: Array, kernel: Array) -> Array:
    """The depthwise convolution as XLA's grouped convolution."""
    return jax.lax.conv_general_dilated(
        x,
        kernel.astype(x.dtype),
        window_strides=(1, 1),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )
