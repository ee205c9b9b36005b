"""The state of training, and how it begins."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from parallel import devices


@flax.struct.dataclass
class TrainState:
    """Everything that a training step changes, and the key from which it draws.

    Attributes:
      params: the network's parameters, float32.
      opt_state: of the optax chain.
      step: int32, how many updates have been made.
      rng: the run's key. It stays as it is: whatever is random is drawn from it by epoch, step and row.
    """

    params: Any
    opt_state: optax.OptState
    step: jax.Array
    rng: jax.Array


def create(
    model: nn.Module, optimizer: optax.GradientTransformation, image_shape: tuple[int, ...], seed: int, sharding: Any
) -> TrainState:
    """The state before the first step, a function of the seed alone.

    Args:
      model: the network.
      optimizer: an optax chain.
      image_shape: height, width, channels.
      seed: of the run.
      sharding: of all arrays, or as `shardings` gives it.
    """
    # Jitted: op by op, initialisation costs more than the first epochs of a small network.
    return jax.jit(_initial(model, optimizer, image_shape), out_shardings=sharding)(jax.random.key(seed))


def state_shapes(model: nn.Module, optimizer: optax.GradientTransformation, image_shape: tuple[int, ...]) -> TrainState:
    """Shapes and dtypes of a state, without making one."""
    return jax.eval_shape(_initial(model, optimizer, image_shape), jax.random.key(0))


def shardings(
    model: nn.Module, optimizer: optax.GradientTransformation, image_shape: tuple[int, ...], mesh: Mesh, kind: str
) -> TrainState:
    """How the arrays of a state lie on the devices; `kind` is one of `devices.parameter_shardings`."""
    return devices.parameter_shardings(state_shapes(model, optimizer, image_shape), mesh, kind)


def _initial(
    model: nn.Module, optimizer: optax.GradientTransformation, image_shape: tuple[int, ...]
) -> Callable[[jax.Array], TrainState]:
    def init(rng: jax.Array) -> TrainState:
        params = model.init(jax.random.fold_in(rng, 0), jnp.zeros((1, *image_shape)))["params"]
        return TrainState(params, optimizer.init(params), jnp.int32(0), rng)

    return init
