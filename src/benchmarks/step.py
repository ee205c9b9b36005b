"""step: a training step of the config without the score, with it, and with dissent beside it, on random images.

Beside each stands what XLA counts in the program: FLOPs, bytes read and written, and bytes held at the peak. The same
step in plain Flax layers, in place of ours, is compared on its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.comparison import Comparison, Options, compare, time_program
from benchmarks.plain_flax import plain_layers
from datasets.feeds.batches import Stacked
from parallel import devices
from planning.cost import DataSet, find_data_set
from training.state import create_state
from training.step import Running, block_numbers, build_recipe, jit_train_block, train_step

_EPOCH = 2

Counts = dict[str, float]


def measure(options: Options) -> list[Comparison]:
    """What the score adds, and our layers against plain ones."""
    config = options.load_config()
    data = find_data_set(config, None, None)
    programs, counts = build_programs(config, data)
    with plain_layers():  # while the program is traced
        plain, plain_counts = build_programs(config, data, which=("with the score",))
    forms = {"our layers": programs["with the score"], "plain Flax layers": plain["with the score"]}
    form_counts = {"our layers": counts["with the score"], "plain Flax layers": plain_counts["with the score"]}
    return [
        compare(title, {name: time_program(way) for name, way in ways.items()}, options.rounds, further=further)
        for title, ways, further in (
            (f"a step of {options.config}", programs, counts),
            (f"a step of {options.config}, layers", forms, form_counts),
        )
    ]


def build_programs(
    config: Any, data: DataSet, which: tuple[str, ...] = ("without", "with the score", "and dissent")
) -> tuple[dict[str, Callable[[], Any]], dict[str, Counts]]:
    """Steps by name, compiled, and what XLA says of each; every one trains a state of its own on one random batch."""
    recipe = build_recipe(config, data.classes, total_steps=1000)
    rng = np.random.default_rng(0)
    size = config.batch_size
    batch = {
        "image": jnp.asarray(rng.integers(0, 256, (size, *data.image_shape), dtype=np.uint8)),
        "label": jnp.asarray(rng.integers(0, data.classes, size, dtype=np.int32)),
        "index": jnp.arange(size, dtype=jnp.int32),
        "mask": jnp.ones(size),
    }
    past = jnp.asarray(rng.integers(0, data.classes, size, dtype=np.int32))

    def step(state: Any, batch: Any, past: Any, scored: bool) -> tuple[Any, Any]:
        state, metrics = train_step(recipe, state, batch, jnp.int32(_EPOCH), past)
        return state, metrics if scored else {name: metrics[name] for name in metrics if name != "alignment"}

    programs, counts = {}, {}
    for name in which:
        device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        keeps_ema = recipe.ema_decay > 0
        state = create_state(recipe.model, recipe.optimizer, data.image_shape, config.seed, device, keeps_ema)
        votes = past if name == "and dissent" else None
        jitted = jax.jit(step, static_argnames="scored", donate_argnums=0)
        compiled = jitted.lower(state, batch, votes, name != "without").compile()
        programs[name] = _carry(compiled, state, batch, votes)
        counts[name] = _count(compiled)
    return programs, counts


def build_block(config: Any, data: DataSet) -> Callable[[], Any]:
    """The program that training dispatches, on random batches; it goes on from the state that its last call left."""
    recipe, mesh = build_recipe(config, data.classes, total_steps=1000), devices.make_mesh()
    rng, shape = np.random.default_rng(0), (config.steps_per_dispatch, config.batch_size)
    batches = {
        "image": rng.integers(0, 256, (*shape, *data.image_shape), dtype=np.uint8),
        "label": rng.integers(0, data.classes, shape, dtype=np.int32),
        "index": np.arange(np.prod(shape), dtype=np.int32).reshape(shape),
        "mask": np.ones(shape, np.float32),
    }
    everywhere = devices.replicated_sharding(mesh)
    state = create_state(recipe.model, recipe.optimizer, data.image_shape, config.seed, everywhere)
    running = devices.place(Running.start(), everywhere)
    constants = (Stacked(devices.place(batches, everywhere)), *block_numbers(config.steps_per_dispatch, _EPOCH, mesh))
    block = jit_train_block(recipe, everywhere, mesh)

    def run() -> Any:
        nonlocal state, running
        state, running, *_ = block(state, running, *constants)
        return state.step

    return run


def _count(compiled: Any) -> Counts:
    cost, memory = compiled.cost_analysis() or {}, compiled.memory_analysis()
    return {
        "GFLOP": float(cost.get("flops", np.nan)) / 1e9,
        "GB": float(cost.get("bytes accessed", np.nan)) / 1e9,
        "GB held": float(memory.temp_size_in_bytes) / 1e9 if memory else np.nan,
    }


def _carry(compiled: Callable[..., Any], state: Any, batch: Any, past: Any) -> Callable[[], Any]:
    """A program that goes on from the state that its last call returned."""

    def run() -> Any:
        nonlocal state
        state, metrics = compiled(state, batch, past)
        return state, metrics

    return run
