"""From `config.optimizer` to an optax chain and the schedule of its learning rate."""

from typing import Any

import jax
import optax

from errors import UserError

_MOST_STEPS = 2**31 - 1  # the devices count them in int32


def build_optimizer(config: Any, total_steps: int) -> optax.GradientTransformation:
    """The chain that turns the mean gradient of a batch into the update.

    Args:
      config: `config.optimizer` of a run.
      total_steps: updates that the whole run makes.

    Raises:
      UserError: for settings that contradict each other.
    """
    schedule = build_schedule(config, total_steps)
    decays = config.weight_decay > 0
    mask = _is_kernel if config.decay == "kernels" else None
    if config.name == "adam":
        if decays:
            raise UserError("optimizer.weight_decay is set, but adam has none; set optimizer.name=adamw or 0")
        rule = optax.adam(schedule)
    elif config.name == "adamw":
        rule = optax.adamw(schedule, weight_decay=config.weight_decay, mask=mask)
    else:  # sgd
        rule = optax.sgd(schedule, momentum=config.momentum)
        rule = optax.chain(optax.add_decayed_weights(config.weight_decay, mask), rule) if decays else rule
    return rule if config.clip_norm is None else optax.chain(optax.clip_by_global_norm(config.clip_norm), rule)


def build_schedule(config: Any, total_steps: int) -> optax.Schedule:
    """The learning rate as a function of the step, from 0.

    Raises:
      UserError: for a warm-up that does not end before training does, a cosine that ends more
        than 1 % of the steps before it, or more steps than can be counted.
    """
    warmup, peak = config.warmup_steps, config.learning_rate
    if total_steps > _MOST_STEPS:
        raise UserError(f"epochs: the run would have {total_steps} updates; it can have at most {_MOST_STEPS}")
    if not 0 <= warmup < total_steps:
        raise UserError(
            f"optimizer.warmup_steps is {warmup}; it must be at least 0 and below the run's {total_steps} steps"
        )
    if config.schedule == "cosine":
        end = config.cosine_steps or total_steps
        if end < 0.99 * total_steps or end <= warmup:
            raise UserError(
                f"optimizer.cosine_steps is {end}; the steps after it, up to the run's {total_steps}, would have the "
                "learning rate 0; set it to 0 for a cosine as long as the run"
            )
        after = optax.cosine_decay_schedule(peak, end - warmup)
    else:
        after = optax.constant_schedule(peak)
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), after], [warmup]) if warmup else after


def _is_kernel(params: Any) -> Any:
    return jax.tree.map_with_path(lambda path, _: path[-1].key == "kernel", params)
