"""A trained network in a folder of its own: loading it needs neither the run nor the data that it comes from.

model.safetensors    the parameters, float32, named by their paths in the tree, such as `head/kernel`
config.json          the fields of `Spec`
model.stablehlo      if asked for: the program from pixels to logits with its parameters, which needs only JAX
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from errors import UserError
from extensions import explain_failure
from networks import build
from networks.pretrained import load_pretrained

PARAMETERS, SPEC, PROGRAM = "model.safetensors", "config.json", "model.stablehlo"
PLATFORMS = ("cpu", "cuda", "tpu")
"""CPUs, NVIDIA GPUs and TPUs."""


@dataclasses.dataclass(frozen=True)
class Spec:
    """What there is to know of a trained network besides its parameters.

    Attributes:
      network: its name and fields, as `networks.build` takes them.
      class_names: in the order of the logits.
      image_shape: height, width and channels of the images that it was trained on.
      resize: pixels; a picture's shorter side is resized to this before its central crop of `image_shape`. None for a
        network whose training set was in memory: pictures are stretched to `image_shape`.
      normalization: `divide_by` and `add`, which turn pixels from [0, 255] into what the network sees.
      run: name of the work directory.
      rule: that chose the epoch.
      epoch: after which the parameters were kept, from 1.
      averaged: whether they are the moving average.
    """

    network: Mapping[str, Any]
    class_names: tuple[str, ...]
    image_shape: tuple[int, ...]
    resize: int | None
    normalization: Mapping[str, float]
    run: str
    rule: str
    epoch: int
    averaged: bool


class TrainedNetwork(NamedTuple):
    """A network that can classify pictures.

    Attributes:
      model: a Flax module.
      params: its parameters.
      spec: what else there is to know.
    """

    model: nn.Module
    params: Any
    spec: Spec

    def logits(self, images: Any) -> jax.Array:
        """Float32 `[B, classes]` of pixels in [0, 255], uint8 or float `[B, height, width, channels]`.

        Raises:
          UserError: when the images have another shape than those of training, or are no numbers.
        """
        scale, images = self.spec.normalization, jnp.asarray(images)
        if images.shape[1:] != self.spec.image_shape or images.shape[0] < 1 or images.dtype == bool:
            raise UserError(
                f"images are {images.dtype} {list(images.shape)}; they must be pixels from 0 to 255, "
                f"[B, {', '.join(map(str, self.spec.image_shape))}] with B of 1 or more"
            )
        pixels = images.astype(jnp.float32) / scale["divide_by"] + scale["add"]
        return self.model.apply({"params": self.params}, pixels)  # type: ignore[return-value]


def export(network: TrainedNetwork, folder: pathlib.Path, program: bool = False) -> None:
    """Writes parameters and spec, and the program if asked for, into a new or an empty folder.

    Raises:
      UserError: when the folder holds something, or `lower` raises it.
    """
    from safetensors.numpy import save

    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"--output: {folder} is not empty; choose another folder, or remove it")
    lowered = lower(network) if program else None
    tensors = traverse_util.flatten_dict(jax.tree.map(np.asarray, dict(network.params)), sep="/")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PARAMETERS).write_bytes(save(tensors))
    (folder / SPEC).write_text(json.dumps(dataclasses.asdict(network.spec), indent=2) + "\n")
    if lowered is not None:
        (folder / PROGRAM).write_bytes(lowered)


def lower(network: TrainedNetwork) -> bytes:
    """`TrainedNetwork.logits` with its parameters as a StableHLO program, which `jax.export.deserialize` reads.

    It maps uint8 `[B, height, width, channels]`, for any B, to float32 logits `[B, classes]` on each of PLATFORMS.

    Raises:
      UserError: when the network, one from outside, needs to know B or does not compile for all of these.
    """
    pixels = jax.ShapeDtypeStruct((*jax.export.symbolic_shape("batch"), *network.spec.image_shape), jnp.uint8)
    try:
        return bytes(jax.export.export(jax.jit(network.logits), platforms=PLATFORMS)(pixels).serialize())
    except Exception as error:  # whatever a user's module raises
        raise UserError(
            f"--stablehlo: {type(network.model).__name__} cannot be exported for batches of any size on "
            f"{', '.join(PLATFORMS)}: {explain_failure(error)}"
        ) from error


def load_exported(folder: str | pathlib.Path) -> TrainedNetwork:
    """The network in a folder that `export` has written; nothing is unpickled.

    Raises:
      UserError: when a file is missing, malformed, or does not fit the other one.
    """
    spec = _read_spec(pathlib.Path(folder) / SPEC)
    model = build(spec.network, len(spec.class_names))
    image = jax.ShapeDtypeStruct((1, *spec.image_shape), jnp.float32)
    template = jax.eval_shape(model.init, jax.random.key(0), image)["params"]
    return TrainedNetwork(model, load_pretrained(pathlib.Path(folder) / PARAMETERS, template), spec)


def _read_spec(file: pathlib.Path) -> Spec:
    if not file.is_file():
        raise UserError(f"there is no file {file}; scripts/export.py writes it")
    try:
        content = json.loads(file.read_text())
        fields = {field.name: content[field.name] for field in dataclasses.fields(Spec)}
    except ValueError as error:
        raise UserError(f"{file} is not JSON ({error})") from None
    except (KeyError, TypeError) as error:
        raise UserError(f"{file} does not describe an exported network; it lacks {error}") from None
    return Spec(**fields | {name: tuple(fields[name]) for name in ("class_names", "image_shape")})
