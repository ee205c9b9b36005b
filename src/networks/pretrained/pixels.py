"""Networks that were trained on pixels of another scale than ours, which their first convolution can take over."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from errors import UserError


class Scale(NamedTuple):
    """What a network expects, `factor` x + `offset`, for pixels x in [-1, 1]; float64 `[3]` each, by colour."""

    factor: np.ndarray
    offset: np.ndarray


def read_pixel_scale(path: pathlib.Path) -> Scale | None:
    """As Hugging Face's `preprocessor_config.json` in the folder of the weights says; None if there is none.

    Raises:
      UserError: when it cannot be understood.
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
    """The first convolution, `kernel` `[k, k, 3, C]` and `bias` `[C]`, so that it gives on our pixels what it gave."""
    kernel = np.asarray(layer["kernel"], np.float64)
    bias = layer["bias"] + np.einsum("yxic,i->c", kernel, scale.offset)
    return {"kernel": (kernel * scale.factor[:, None]).astype(np.float32), "bias": bias.astype(np.float32)}
