"""ConvNeXt V2 (Woo et al., arXiv 2301.00808): stages of depthwise convolutions with global response normalisation."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from errors import UserError
from networks.fields import COUNT, COUNTS, SWITCH, check_fields
from networks.layers import (
    Dense,
    DepthwiseConv,
    GlobalResponseNorm,
    LayerNorm,
    PatchProjection,
    StochasticDepth,
    classify,
    require_whole_patches,
    stochastic_depth_rates,
)

SIZES = {
    "convnextv2_atto": {"depths": (2, 2, 6, 2), "widths": (40, 80, 160, 320)},
    "convnextv2_femto": {"depths": (2, 2, 6, 2), "widths": (48, 96, 192, 384)},
    "convnextv2_pico": {"depths": (2, 2, 6, 2), "widths": (64, 128, 256, 512)},
    "convnextv2_nano": {"depths": (2, 2, 8, 2), "widths": (80, 160, 320, 640)},
    "convnextv2_tiny": {"depths": (3, 3, 9, 3), "widths": (96, 192, 384, 768)},
    "convnextv2_base": {"depths": (3, 3, 27, 3), "widths": (128, 256, 512, 1024)},
    "convnextv2_large": {"depths": (3, 3, 27, 3), "widths": (192, 384, 768, 1536)},
    "convnextv2_huge": {"depths": (3, 3, 27, 3), "widths": (352, 704, 1408, 2816)},
    "convnextv2": {},  # the user sets depths and widths
}


class ConvNeXtBlock(nn.Module):
    """Residual block: depthwise convolution, then a two-layer perceptron, four times as wide, at every position."""

    kernel_size: int
    activation: str
    drop_rate: float

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Map x [B, H, W, C] to the same shape."""
        channels = x.shape[-1]
        y = DepthwiseConv(self.kernel_size, defer=True, name="depthwise")(x)
        y = LayerNorm(defer=True, name="norm")(y)
        y = Dense(4 * channels, defer=True, name="expand")(y)
        y = GlobalResponseNorm(self.activation, name="grn")(y)
        y = Dense(channels, name="project")(y)
        return x + StochasticDepth(self.drop_rate)(y, train=train)


class ConvNeXtV2(nn.Module):
    """ConvNeXt V2 classifier.

    The defaults are the published ImageNet form. The alignment paper's CIFAR form is patch_size=1, kernel_size=3,
    stem_bias=False.
    """

    num_classes: int
    depths: tuple[int, ...]  # blocks per stage
    widths: tuple[int, ...]  # channels per stage
    patch_size: int = 4  # of the stem, in pixels
    kernel_size: int = 7
    stem_bias: bool = True
    activation: str = "gelu"  # or gelu_tanh
    stochastic_depth: float = 0.0  # drop rate of the last block, rising linearly from 0
    head_init: str = "normal"  # or zeros
    compute_dtype: str = "float32"  # or bfloat16; parameters and the head are float32 in any case

    def check(self) -> None:
        """Refuses fields that a ConvNeXt cannot have, by a UserError."""
        check_fields(self, depths=COUNTS, widths=COUNTS, patch_size=COUNT, kernel_size=COUNT, stem_bias=SWITCH)
        if len(self.depths) != len(self.widths):
            raise UserError(
                f"network.depths has {len(self.depths)} stages and network.widths {len(self.widths)}: both must have "
                "the same number"
            )

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Array:
        """Map normalised images [B, H, W, C] to float32 logits [B, num_classes].

        With train=True and stochastic depth, needs the rng "dropout".

        Raises:
          UserError: the images cannot be divided into patches, or are too small for the number of stages.
        """
        self._check_size(images)
        x = images.astype(self.compute_dtype)
        x = PatchProjection(self.widths[0], self.patch_size, self.stem_bias, name="stem")(x)
        x = LayerNorm(name="stem_norm")(x)

        rates = iter(stochastic_depth_rates(self.stochastic_depth, sum(self.depths)))
        for stage, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True)):
            if stage > 0:
                x = LayerNorm(defer=True, name=f"stage{stage}_norm")(x)
                x = PatchProjection(width, patch_size=2, name=f"stage{stage}_downsample")(x)
            for block in range(depth):
                name = f"stage{stage}_block{block}"
                x = ConvNeXtBlock(self.kernel_size, self.activation, next(rates), name=name)(x, train=train)

        embeddings = x.astype(jnp.float32).mean(axis=(1, 2))
        embeddings = LayerNorm(name="norm")(embeddings)
        return classify(self, embeddings, self.num_classes, self.head_init)

    def _check_size(self, images: Array) -> None:
        require_whole_patches(images, self.patch_size)
        height, width = images.shape[1:3]
        smallest = self.patch_size * 2 ** (len(self.depths) - 1)
        if min(height, width) < smallest:
            raise UserError(
                f"the images are {height}×{width} pixels, too small for {len(self.depths)} stages with "
                f"network.patch_size {self.patch_size}: both sides must be at least {smallest}"
            )
