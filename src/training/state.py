"""The state of training, and how it is initialised: at random, or with pretrained weights."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax

from errors import UserError
from parallel import devices
from training.run.reader import read_summary
from training.run.restoring import load_params


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


def load_pretrained_params(state: TrainState, config: Any, model: nn.Module) -> TrainState:
    """The state with the weights that `config.pretrained` names, and the new head of `state` behind them.

    Arrays stay on the devices on which those of `state` lie. The head is new even where the number of classes is the
    same, since that does not say which classes they are; `config.pretrained_head` keeps the pretrained one. Without
    `config.pretrained` the state is returned as it is.

    Raises:
      UserError: when the weights are missing, or do not fit the network.
    """
    if config.pretrained is None:
        return state
    from networks import pretrained

    path = pathlib.Path(config.pretrained).expanduser()
    if not path.exists():
        raise UserError(f"pretrained: there is no file and no run {path}")
    new_head = not config.pretrained_head
    if path.is_dir():
        path = pretrained.find_file(path) or path
    if path.is_dir():
        checkpoint = _find_checkpoint(path)
        params = pretrained.from_checkpoint(load_params(checkpoint), state.params, checkpoint, new_head)
    else:
        num_heads = getattr(model, "num_heads", None)
        params = pretrained.load_pretrained(path, state.params, num_heads, new_head)
    placed = jax.tree.map(lambda new, old: devices.place(new, old.sharding), params, state.params)
    ema = None if state.ema is None else jax.tree.map(jnp.copy, placed)
    return dataclasses.replace(state, params=placed, ema=ema)


def _find_checkpoint(path: pathlib.Path) -> pathlib.Path:
    """The directory itself if it is a checkpoint, or the checkpoint that the finished run in it has chosen."""
    if not (path / "config.json").exists():
        return path
    if not (path / "environment.json").exists():
        raise UserError(f"pretrained: the folder {path} has no model.safetensors and is no run")
    if not (path / "summary.json").exists():
        raise UserError(f"pretrained: the run {path} is not finished; name one of its checkpoints")
    summary = read_summary(path)
    return path / summary["rules"][summary["chosen_by"]]["checkpoint"]


def _initial(
    model: nn.Module, optimizer: optax.GradientTransformation, image_shape: tuple[int, ...], keeps_ema: bool
) -> Callable[[jax.Array], TrainState]:
    def init(rng: jax.Array) -> TrainState:
        params = model.init(jax.random.fold_in(rng, 0), jnp.zeros((1, *image_shape)))["params"]
        ema = jax.tree.map(jnp.copy, params) if keeps_ema else None
        return TrainState(params, optimizer.init(params), jnp.int32(0), rng, ema)

    return init
