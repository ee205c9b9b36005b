"""Changes of brightness, contrast and saturation."""

import numpy as np

from evaluation.corruptions.pixels import Generators, levels, unit


def brightness(images: np.ndarray, generators: Generators, addition: float) -> np.ndarray:
    """Adds to the value of HSV, which is the largest channel, at most to 1; hue and saturation stay."""
    del generators
    pixels = unit(images)
    value = pixels.max(axis=-1, keepdims=True)
    share = np.divide(pixels, value, out=np.ones_like(pixels), where=value > 0)
    return levels(np.minimum(value + addition, 1) * share)


def contrast(images: np.ndarray, generators: Generators, factor: float) -> np.ndarray:
    """Multiplies the distance from the channel's mean."""
    del generators
    pixels = unit(images)
    mean = pixels.mean(axis=(1, 2), keepdims=True)
    return levels((pixels - mean) * factor + mean)


def saturate(images: np.ndarray, generators: Generators, factor: float, addition: float) -> np.ndarray:
    """Maps the saturation s of HSV to s · factor + addition, within [0, 1]; a grey has the hue of red."""
    del generators
    pixels = unit(images)
    value = pixels.max(axis=-1, keepdims=True)
    chroma = value - pixels.min(axis=-1, keepdims=True)
    red = np.broadcast_to([0.0, 1.0, 1.0], pixels.shape).copy()
    below = np.divide(value - pixels, chroma, out=red, where=chroma > 0)
    saturation = np.divide(chroma, value, out=np.zeros_like(value), where=value > 0)
    return levels(value * (1 - np.clip(saturation * factor + addition, 0, 1) * below))
