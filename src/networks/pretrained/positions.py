"""Position embeddings of another grid of patches, resized to the network's."""

import math

import numpy as np


def resize_positions(positions: np.ndarray, count: int, class_token: bool) -> np.ndarray | None:
    """Learned position embeddings for `count` tokens; None if either grid of patches is not square.

    Bilinear with the corners of both grids on each other, as Google's code does it. The class token's position is kept
    as it is; big_vision's files have none for it, which is one of zeros here. Equal sizes are left alone.

    Args:
      positions: `[1, tokens, D]`, row by row, behind the class token's if there is one.
      count: tokens of the network, with its class token.
      class_token: whether the network has one.
    """
    if positions.shape[1] == count:
        return positions
    extra = int(class_token)
    if class_token and _side(positions.shape[1]):
        positions = np.concatenate([np.zeros_like(positions[:, :1]), positions], axis=1)
    before, after = _side(positions.shape[1] - extra), _side(count - extra)
    if not before or not after:
        return None
    token, grid = positions[:, :extra], positions[:, extra:]
    weights = _interpolation(before, after)
    grid = np.einsum("yi,xj,bijd->byxd", weights, weights, grid.reshape(1, before, before, -1), optimize=True)
    grid = grid.astype(positions.dtype)
    return np.concatenate([token, grid.reshape(1, after * after, -1)], axis=1)


def _side(count: int) -> int:
    """The side of a square of `count` patches; 0 if there is none."""
    side = math.isqrt(max(count, 0))
    return side if side * side == count else 0


def _interpolation(before: int, after: int) -> np.ndarray:
    """The linear map `[after, before]` along one axis."""
    at = np.linspace(0, before - 1, after)
    return np.stack([np.interp(at, np.arange(before), row) for row in np.eye(before)], axis=1)
