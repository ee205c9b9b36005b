"""Pretrained weights in the state of a run that begins: from a file, an exported network, or a finished run."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from errors import UserError
from parallel import devices
from parallel.processes import is_main
from training.run.reader import read_summary
from training.run.restoring import load_params
from training.state import TrainState


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
    if is_main():
        print(f"starts from {path}, with {'a new head' if new_head else 'its head'}")
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
    chosen = summary["rules"][summary["chosen_by"]]["checkpoint"]
    if chosen is None:
        raise UserError(
            f"pretrained: the rule {summary['chosen_by']} of the run {path} has kept no epoch; name a checkpoint of it"
        )
    return path / chosen
