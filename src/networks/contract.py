"""What the trainer expects of a network, checked before training: on shapes, and on numbers of the head."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from errors import UserError
from extensions import explain_failure


def check_contract(model: nn.Module, image_shape: tuple[int, ...], num_classes: int) -> None:
    """Refuses a network whose alignments the trainer cannot compute; nothing is run.

    A network must answer `model(images, train=...)` with logits `[B, num_classes]`, have no variables besides its
    parameters, sow its embeddings `[B, D]` once into `latent_embeddings`, and then apply a dense layer `head` with a
    `kernel` `[D, num_classes]` and, if it likes, a `bias`.

    Args:
      model: see `networks.build`.
      image_shape: height, width and channels.
      num_classes: of the data set.

    Raises:
      UserError: what is missing or has another shape, or what the network raises for such an image.
    """
    name = type(model).__name__
    variables, forwards = _trace(model, image_shape)
    further = sorted(set(variables) - {"params", "latent_embeddings"})
    if further:
        raise UserError(f"network.name: {name} has variables in {', '.join(further)}; it may only have params")
    head = variables.get("params", {}).get("head", {})
    if "kernel" not in head:
        raise UserError(f"network.name: {name} has no parameter head/kernel; its last layer must be called head")
    for logits, sown in forwards:
        if getattr(logits, "shape", None) != (1, num_classes):
            raise UserError(
                f"network.name: {name} gives {_show(logits)} for one image; it must give [1, {num_classes}]"
            )
        embeddings = jax.tree.leaves(sown)
        if len(embeddings) != 1:
            raise UserError(
                f"network.name: {name} sows {len(embeddings)} latent_embeddings; it must sow once what its head sees: "
                'self.sow("latent_embeddings", "embeddings", x)'
            )
        if embeddings[0].ndim != 2 or head["kernel"].shape != (embeddings[0].shape[-1], num_classes):
            raise UserError(
                f"network.name: {name} sows embeddings {_show(embeddings[0])} of one image, and its head/kernel is "
                f"{_show(head['kernel'])}; they must be [1, D] and [D, {num_classes}]"
            )


def check_head(model: nn.Module, image_shape: tuple[int, ...]) -> None:
    """Refuses a network whose logits are not what its head makes of the sown embeddings, for two random images.

    Args:
      model: a network that `check_contract` has accepted.
      image_shape: height, width and channels.

    Raises:
      UserError: when the logits are not embeddings · kernel + bias, for a random head.
    """
    with jax.default_device(jax.local_devices(backend="cpu")[0]):  # no device need hold all of a large network
        _compare_head(model, image_shape)


def _compare_head(model: nn.Module, image_shape: tuple[int, ...]) -> None:
    keys = jax.random.split(jax.random.key(0), 3)
    images = jax.random.normal(keys[0], (2, *image_shape))
    params = jax.jit(model.init)(keys[1], images)["params"]
    head = {name: jax.random.normal(keys[2], leaf.shape, leaf.dtype) for name, leaf in params["head"].items()}
    apply = jax.jit(partial(model.apply, mutable=["latent_embeddings"]))
    logits, sown = apply({"params": {**params, "head": head}}, images)
    (embeddings,) = jax.tree.leaves(sown)
    expected = embeddings @ head["kernel"] + jnp.broadcast_to(head.get("bias", 0), logits.shape)
    if not jnp.allclose(logits, expected, rtol=0.05, atol=0.05 * jnp.abs(expected).max()):  # bfloat16 is coarse
        raise UserError(
            f"network.name: {type(model).__name__} gives logits that are not its latent_embeddings times head/kernel "
            "plus head/bias; sow what the head sees, and return what it gives"
        )


def _trace(model: nn.Module, image_shape: tuple[int, ...]) -> tuple[Any, list[Any]]:
    """Shapes of all variables; and of the logits and what is sown, in evaluation and in training."""
    image, key = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32), jax.random.key(0)
    modes: list[dict[str, Any]] = [{"train": False}, {"train": True, "rngs": {"dropout": key}}]
    try:
        variables = jax.eval_shape(model.init, key, image)
        params = {"params": variables.get("params", {})}
        if set(variables) - {"params", "latent_embeddings"}:
            return variables, []  # such a network cannot be applied to its params alone
        apply = partial(model.apply, mutable=["latent_embeddings"])
        return variables, [jax.eval_shape(partial(apply, **mode), params, image) for mode in modes]
    except UserError:
        raise
    except Exception as error:  # whatever a user's module raises
        shown = "×".join(map(str, image_shape))
        raise UserError(
            f"network.name: {type(model).__name__} fails on an image of {shown}: {explain_failure(error)}"
        ) from error


def _show(array: Any) -> str:
    return str(list(array.shape)) if hasattr(array, "shape") else f"a {type(array).__name__}"
