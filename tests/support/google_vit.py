"""The original Vision Transformer in plain Flax, and random weights in the form of its files: what ours is held to."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np


class GoogleViT(nn.Module):
    """The original Vision Transformer with a class token, of Flax's own layers with the names of its files."""

    width: int
    depth: int
    num_heads: int
    mlp_dim: int
    patch_size: int
    num_classes: int

    @nn.compact
    def __call__(self, images):
        size = (self.patch_size, self.patch_size)
        x = nn.Conv(self.width, size, strides=size, padding="VALID", name="embedding")(images)
        x = x.reshape(len(x), -1, self.width)
        token = self.param("cls", nn.initializers.zeros, (1, 1, self.width))
        x = jnp.concatenate([jnp.tile(token, (len(x), 1, 1)), x], axis=1)
        x = GoogleEncoder(self.depth, self.num_heads, self.mlp_dim, name="Transformer")(x)
        return nn.Dense(self.num_classes, name="head")(x[:, 0])


class GoogleEncoder(nn.Module):
    depth: int
    num_heads: int
    mlp_dim: int

    @nn.compact
    def __call__(self, x):
        x = GooglePositions(name="posembed_input")(x)
        for block in range(self.depth):
            x = GoogleBlock(self.num_heads, self.mlp_dim, name=f"encoderblock_{block}")(x)
        return nn.LayerNorm(name="encoder_norm")(x)


class GooglePositions(nn.Module):
    @nn.compact
    def __call__(self, x):
        return x + self.param("pos_embedding", nn.initializers.normal(0.02), (1, *x.shape[1:]))


class GoogleBlock(nn.Module):
    num_heads: int
    mlp_dim: int

    @nn.compact
    def __call__(self, x):
        y = nn.LayerNorm(name="LayerNorm_0")(x)
        attention = nn.MultiHeadDotProductAttention(self.num_heads, name="MultiHeadDotProductAttention_1")
        x = x + attention(y, y)
        y = nn.LayerNorm(name="LayerNorm_2")(x)
        return x + GooglePerceptron(self.mlp_dim, name="MlpBlock_3")(y)


class GooglePerceptron(nn.Module):
    mlp_dim: int

    @nn.compact
    def __call__(self, x):
        y = nn.gelu(nn.Dense(self.mlp_dim, name="Dense_0")(x))  # Flax's default, the approximation by tanh
        return nn.Dense(x.shape[-1], name="Dense_1")(y)


def google_file(width, depth, num_heads, mlp_dim, patch, grid, num_classes):
    """Random weights with the names and shapes of the original files, written out by hand."""
    heads = width // num_heads
    shapes = {
        "cls": (1, 1, width),
        "embedding/kernel": (patch, patch, 3, width),
        "embedding/bias": (width,),
        "Transformer/posembed_input/pos_embedding": (1, grid * grid + 1, width),
        "Transformer/encoder_norm/scale": (width,),
        "Transformer/encoder_norm/bias": (width,),
        "head/kernel": (width, num_classes),
        "head/bias": (num_classes,),
    }
    for block in range(depth):
        prefix = f"Transformer/encoderblock_{block}"
        for norm in ("LayerNorm_0", "LayerNorm_2"):
            shapes |= {f"{prefix}/{norm}/{leaf}": (width,) for leaf in ("scale", "bias")}
        attention = f"{prefix}/MultiHeadDotProductAttention_1"
        for name in ("query", "key", "value"):
            shapes[f"{attention}/{name}/kernel"] = (width, num_heads, heads)
            shapes[f"{attention}/{name}/bias"] = (num_heads, heads)
        shapes[f"{attention}/out/kernel"] = (num_heads, heads, width)
        shapes[f"{attention}/out/bias"] = (width,)
        shapes[f"{prefix}/MlpBlock_3/Dense_0/kernel"] = (width, mlp_dim)
        shapes[f"{prefix}/MlpBlock_3/Dense_0/bias"] = (mlp_dim,)
        shapes[f"{prefix}/MlpBlock_3/Dense_1/kernel"] = (mlp_dim, width)
        shapes[f"{prefix}/MlpBlock_3/Dense_1/bias"] = (width,)
    random = np.random.default_rng(0)
    tensors = {}
    for name, shape in shapes.items():
        spread = width**-0.5 if name.endswith("kernel") else 0.3
        tensors[name] = spread * random.standard_normal(shape, np.float32) + np.float32(name.endswith("scale"))
    return {name: tensor.astype(np.float32) for name, tensor in tensors.items()}
