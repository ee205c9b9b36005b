"""Adapts weights that were trained on pixels of another scale, or on another grid of patches, than the network's."""

from __future__ import annotations

import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from errors import UserError


class Scale(NamedTuple):
    """What a network expects, `factor` x + `offset`, for pixels x in [-1, 1]; float64 `[3]` each, one per colour."""

    factor: np.ndarray
    offset: np.ndarray


def read_pixel_scale(path: pathlib.Path) -> Scale | None:
    """Reads Hugging Face's `preprocessor_config.json` from the folder of the weights; None if there is none.

    Raises:
      UserError: the file cannot be understood.
    """
    file = path.with_name("preprocessor_config.json")
    if not file.exists():
        return None
    try:
        config = json.loads(file.read_text())
        rescale = config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 1
        normalize = config.get("do_normalize", True)
        mean, deviation = (
            np.broadcast_to(np.array(config[name] if normalize else neutral, np.float64), 3)
            for name, neutral in (("image_mean", 0), ("image_std", 1))
        )
        half = 127.5 * float(rescale)  # a pixel of 255 (x + 1) / 2 is rescaled and then normalised
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = Scale(half / deviation, (half - mean) / deviation)
    except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        raise UserError(f"pretrained: cannot read {file}: {type(error).__name__} {error}") from None
    if not np.isfinite(scale).all():
        raise UserError(f"pretrained: cannot read {file}: image_mean and image_std must be finite, image_std not 0")
    return scale


def absorb_pixel_scale(layer: Mapping[str, Any], scale: Scale) -> dict[str, np.ndarray]:
    """Rewrites the first convolution, `kernel` `[k, k, 3, C]` and `bias` `[C]`, so that our pixels give the same."""
    kernel = np.asarray(layer["kernel"], np.float64)
    bias = layer["bias"] + np.einsum("yxic,i->c", kernel, scale.offset)
    return {"kernel": (kernel * scale.factor[:, None]).astype(np.float32), "bias": bias.astype(np.float32)}


def resize_positions(positions: np.ndarray, count: int, class_token: bool) -> np.ndarray | None:
    """Resizes learned position embeddings to `count` tokens; None if either grid of patches is not square.

    The interpolation is bilinear and puts the corners of one grid on those of the other, as Google's code does. The
    class token keeps its position; big_vision's files have none for it, so it gets zeros. Equal sizes are left alone.

    Args:
      positions: `[1, tokens, D]`, row by row, after the class token's if there is one.
      count: tokens of the network, with its class token.
      class_token: whether the network has one.
    """
    if positions.shape[1] == count:
        return positions
    extra = int(class_token)
    if class_token and _find_side(positions.shape[1]):
        positions = np.concatenate([np.zeros_like(positions[:, :1]), positions], axis=1)
    before, after = _find_side(positions.shape[1] - extra), _find_side(count - extra)
    if not before or not after:
        return None
    token, grid = positions[:, :extra], positions[:, extra:]
    # The linear map along one axis, [after, before].
    at = np.linspace(0, before - 1, after)
    weights = np.stack([np.interp(at, np.arange(before), row) for row in np.eye(before)], axis=1)
    grid = np.einsum("yi,xj,bijd->byxd", weights, weights, grid.reshape(1, before, before, -1), optimize=True)
    return np.concatenate([token, grid.astype(positions.dtype).reshape(1, after * after, -1)], axis=1)


def _find_side(count: int) -> int:
    """The side of a square of `count` patches; 0 if there is none."""
    side = math.isqrt(max(count, 0))
    return side if side * side == count else 0
