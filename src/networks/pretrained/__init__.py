"""Loads trained weights: Google's ViT, Hugging Face's ConvNeXt V2 and ViT, and those of our own runs."""

from __future__ import annotations

import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
from flax import traverse_util

from errors import UserError
from networks.pretrained.adaptation import absorb_pixel_scale, read_pixel_scale, resize_positions
from networks.pretrained.layouts import Google, HuggingFace, Layout, Path, Slot

Tensors = Mapping[str, np.ndarray]
_PICKLED = (".bin", ".pt", ".pth", ".ckpt")
_FIRST_LAYERS = {"vit": "patch", "convnextv2": "stem"}


def load_pretrained(
    path: str | pathlib.Path, params: Mapping[str, Any], num_heads: int | None = None, new_head: bool = False
) -> dict[str, Any]:
    """Reads the parameters of a network from a file; nothing is unpickled.

    A file of ours may hold any network, one of Google or Hugging Face a ViT or a ConvNeXt V2. Google's networks need
    `network.activation` gelu_tanh, Hugging Face's gelu, our default. Both expect pixels in [-1, 1], unless a
    `preprocessor_config.json` beside Hugging Face's file says otherwise: then the first convolution absorbs the
    difference.

    Args:
      path: Google's file of a ViT (`.npz`), Hugging Face's file of a network (`.safetensors`), or the `.safetensors`
        of a network that `networks.exported` has written.
      params: the parameters of the same network, made by `init` (or `jax.eval_shape` of it).
      num_heads: of a ViT.
      new_head: whether to keep the head of `params`, whatever the file holds: for fine-tuning on other classes.

    Returns:
      A tree like `params` with the values of the file. Position embeddings are resized to the network's grid.

    Raises:
      UserError: the file cannot be read, or does not fit; one line lists every weight that is missing, left over or has
        another shape.
    """
    path = pathlib.Path(path)
    tensors = _read_safetensors(path) if path.suffix == ".safetensors" else {}
    if "head/kernel" in tensors:  # of one of our runs: Hugging Face's names have dots
        return fit(tensors, params, Layout(), path, new_head)
    family = next((name for name, first in _FIRST_LAYERS.items() if first in params), None)
    if family is None:
        raise UserError(f"pretrained: {path} is no run; files of weights are for ViT and ConvNeXt V2 only")
    if path.suffix == ".npz":
        if family != "vit":
            raise UserError(f"pretrained: {path} is a file of Google's ViT, and the network is a ConvNeXt V2")
        tensors = _read_npz(path)
        return fit(tensors, params, Google(tensors, num_heads or _count_heads(tensors)), path, new_head)
    if path.suffix == ".safetensors":
        scale = read_pixel_scale(path)
        loaded = fit(tensors, params, HuggingFace(family, tensors), path, new_head)
        first = _FIRST_LAYERS[family]
        return loaded | {first: absorb_pixel_scale(loaded[first], scale)} if scale else loaded
    if path.suffix in _PICKLED:
        raise _explain_conversion(path)
    raise UserError(f"pretrained: {path} is neither an .npz nor a .safetensors file, nor a run or a checkpoint of one")


def find_file(folder: pathlib.Path) -> pathlib.Path | None:
    """The weights in a folder of `save_pretrained` of transformers, or of our `export`; None where it is neither.

    Raises:
      UserError: the weights in it are pickled or in several files.
    """
    if (folder / "model.safetensors").exists():
        return folder / "model.safetensors"
    for name in ("model.safetensors.index.json", "pytorch_model.bin.index.json", "pytorch_model.bin"):
        if (folder / name).exists():
            raise _explain_conversion(folder / name)
    return None


def from_checkpoint(
    tree: Mapping[str, Any], params: Mapping[str, Any], path: str | pathlib.Path, new_head: bool = False
) -> dict[str, Any]:
    """The parameters of a network from a checkpoint of one of our runs, at `path`; see load_pretrained."""
    tensors = {"/".join(place): value for place, value in traverse_util.flatten_dict(dict(tree)).items()}
    return fit(tensors, params, Layout(), path, new_head)


def fit(
    tensors: Tensors, params: Mapping[str, Any], layout: Layout, path: str | pathlib.Path, new_head: bool
) -> dict[str, Any]:
    """Puts the weights of a file into the tree of a network's parameters; see load_pretrained.

    Args:
      tensors: all weights of the file, by name.
      params: the network's parameters.
      layout: how the file names and lays them out.
      path: of the file, for the error messages.
      new_head: whether to keep the head of `params`.
    """
    converted: dict[Path, Any] = {}
    taken, missing, misshapen = set(), [], []
    for place, template in traverse_util.flatten_dict(dict(params)).items():
        if new_head and place[0] == "head":
            converted[place] = template
            continue
        slot = layout.find_slot(place, template.shape)
        if slot is None or slot.name not in tensors:
            missing.append(f"{'/'.join(place)} ({slot.name if slot else 'such files do not have it'})")
            continue
        taken.add(slot.name)
        value = _rearrange(tensors[slot.name], slot, template.shape, place == ("position",), "class_token" in params)
        if value is None:
            squares = ", as only square grids are resized" if place == ("position",) else ""
            misshapen.append(f"{slot.name} is {tensors[slot.name].shape} and should be {slot.shape}{squares}")
        else:
            converted[place] = value.astype(template.dtype)
    if not taken:
        first = ", ".join([*tensors][:3])
        raise UserError(f"pretrained: {path} holds none of the network's weights; it begins with {first}")
    left_over = [name for name in tensors if name not in taken and not (new_head and layout.belongs_to_head(name))]
    problems = {"missing": missing, "left over": sorted(left_over), "of another shape": misshapen}
    if any(problems.values()):
        told = "; ".join(f"{what}: {', '.join(names)}" for what, names in problems.items() if names)
        raise UserError(f"pretrained: {path} does not fit the network; {told}")
    return traverse_util.unflatten_dict(converted)


def _rearrange(
    tensor: np.ndarray, slot: Slot, shape: tuple[int, ...], is_position: bool, class_token: bool
) -> np.ndarray | None:
    """Brings a tensor into our layout; None if its shape is wrong."""
    if is_position and tensor.ndim == 3 and tensor.shape[::2] == shape[::2]:
        return resize_positions(tensor, shape[1], class_token)
    return tensor.transpose(slot.axes).reshape(shape) if tensor.shape == slot.shape else None


def _read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            tensors = dict(file)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise _explain_unreadable(path, error) from None
    # NumPy has no bfloat16 and stores it as two raw bytes.
    return {
        name: array.view(ml_dtypes.bfloat16) if array.dtype == np.dtype("V2") else array
        for name, array in tensors.items()
    }


def _read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise _explain_unreadable(path, error) from None


def _explain_unreadable(path: pathlib.Path, error: Exception) -> UserError:
    return UserError(f"pretrained: there is no file {path}" if not path.exists() else f"cannot read {path}: {error}")


def _explain_conversion(path: pathlib.Path) -> UserError:
    what = "is pickled, which could execute code" if path.suffix in _PICKLED else "lists several files"
    return UserError(
        f"pretrained: {path} {what}, and is not read; convert it to one model.safetensors: load it in transformers, "
        "then save_pretrained('FOLDER', max_shard_size='100GB')"
    )


def _count_heads(tensors: Tensors) -> int:
    return next((array.shape[1] for name, array in tensors.items() if name.endswith("query/kernel")), 1)


__all__ = ["find_file", "from_checkpoint", "load_pretrained"]
