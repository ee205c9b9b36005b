"""Where training starts when it does not start from nothing: the weights that `config.pretrained` names."""

import dataclasses
import json
import pathlib
from typing import Any

import flax.linen as nn
import jax

from errors import UserError
from networks import pretrained
from parallel import devices
from training.run.checkpoints import load_params
from training.state import TrainState


def from_pretrained(state: TrainState, config: Any, model: nn.Module) -> TrainState:
    """The state with pretrained weights behind a new head, each where its parameter lay; as it is if none are named.

    The head is that of `state` even where the number of classes is the same: that says nothing about which they are.
    `config.pretrained_head` keeps it.

    Raises:
      UserError: the weights are not there, or do not fit the network.
    """
    if config.pretrained is None:
        return state
    path = pathlib.Path(config.pretrained)
    if not path.exists():
        raise UserError(f"pretrained: there is no file and no run {path}")
    new_head = not config.pretrained_head
    if path.is_dir():
        checkpoint = _checkpoint(path)
        params = pretrained.from_checkpoint(load_params(checkpoint), state.params, checkpoint, new_head)
    else:
        num_heads = getattr(model, "num_heads", None)
        params = pretrained.load_pretrained(path, state.params, num_heads, new_head)
    placed = jax.tree.map(lambda new, old: devices.place(new, old.sharding), params, state.params)
    return dataclasses.replace(state, params=placed)


def _checkpoint(path: pathlib.Path) -> pathlib.Path:
    """The checkpoint itself, or the one that a finished run has chosen."""
    if (path / "config.json").exists():
        if not (path / "summary.json").exists():
            raise UserError(f"pretrained: the run {path} is not finished; name a checkpoint of it")
        summary = json.loads((path / "summary.json").read_text())
        return path / summary["rules"][summary["chosen_by"]]["checkpoint"]
    return path
