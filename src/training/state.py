"""The state of training, and how it is initialised at random; `pretrained.py` puts weights into it."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax


@flax.struct.dataclass
class TrainState:
    """Everything that a training step changes, and the key from which it draws.

    Attributes:
      params: the network's parameters, float32.
      opt_state: of the optax chain.
      step: int32, how many updates have been made.
      ema: moving average of the parameters, float32; None if the run keeps none.
      rng: the run's key. It never changes: everything random is drawn from it by epoch, step and row.
    """

    params: Any
    opt_state: optax.OptState
    step: jax.Array
    rng: jax.Array
    ema: Any = None


def create_state(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    image_shape: tuple[int, ...],
    seed: int,
    sharding: Any,
    keeps_ema: bool = False,
) -> TrainState:
    """The state before the first step, a function of the seed alone.

    Args:
      model: the network.
      optimizer: an optax chain.
      image_shape: height, width, channels.
      seed: of the run.
      sharding: of all arrays, or what `devices.parameter_shardings` returns for the state.
      keeps_ema: whether the state holds a moving average of the parameters.
    """
    # Jitted, because op by op initialisation takes longer than the first epochs of a small network.
    initial = _initial(model, optimizer, image_shape, keeps_ema)
    # Run once: on CPUs compiling takes half as long with fewer optimisations, and the numbers are the same.
    options = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None
    return jax.jit(initial, out_shardings=sharding, compiler_options=options)(jax.random.key(seed))


def state_shapes(
    model: nn.Module, optimizer: optax.GradientTransformation, image_shape: tuple[int, ...], keeps_ema: bool = False
) -> TrainState:
    """Shapes and dtypes of a state, without computing one."""
    return jax.eval_shape(_initial(model, optimizer, image_shape, keeps_ema), jax.random.key(0))


def _initial(
    model: nn.Module, optimizer: optax.GradientTransformation, image_shape: tuple[int, ...], keeps_ema: bool
) -> Callable[[jax.Array], TrainState]:
    def init(rng: jax.Array) -> TrainState:
        params = model.init(jax.random.fold_in(rng, 0), jnp.zeros((1, *image_shape)))["params"]
        ema = jax.tree.map(jnp.copy, params) if keeps_ema else None
        return TrainState(params, optimizer.init(params), jnp.int32(0), rng, ema)

    return init
