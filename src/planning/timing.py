"""Times programs against each other on this machine, alternating, and the programs that the score is compared with."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gwa import head_alignment
from planning.cost import DataSet
from training.estimators import textbook_alignment
from training.state import create_state
from training.step import build_recipe, train_step

SCORE_SHAPES = ((256, 192, 10), (1024, 384, 1000), (512, 768, 8142))
"""Samples, features and classes: of CIFAR-10, of ImageNet, of iNaturalist 2018."""

_WARM_UP = 2  # rounds that do not count
_EPOCH = 2

Program = Callable[[], Any]


def compare(programs: Mapping[str, Program], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Runs all programs once per round, in a random order, and waits for each.

    Args:
      programs: by name; the first is what the others are compared with.
      rounds: how many.

    Returns:
      For each program `milliseconds` and the `ratio` of its time to that of the first in the same round: lower
      quartile, median and upper quartile of each.
    """
    rng, seconds = np.random.default_rng(0), {name: np.zeros(rounds + _WARM_UP) for name in programs}
    for i in range(rounds + _WARM_UP):
        for name in rng.permutation(list(programs)):
            started = time.perf_counter()
            jax.block_until_ready(programs[name]())
            seconds[name][i] = time.perf_counter() - started
    first = next(iter(seconds.values()))[_WARM_UP:]
    return {
        name: {"milliseconds": _quartiles(1e3 * times[_WARM_UP:]), "ratio": _quartiles(times[_WARM_UP:] / first)}
        for name, times in seconds.items()
    }


def _quartiles(values: np.ndarray) -> list[float]:
    return np.quantile(values, [0.25, 0.5, 0.75]).tolist()


def build_score_programs(samples: int, features: int, classes: int) -> dict[str, Program]:
    """The alignments of one batch: by our closed form, by the formula as it reads, and by differentiating each loss."""
    keys = jax.random.split(jax.random.key(0), 3)
    embeddings = jax.random.normal(keys[0], (samples, features))
    kernel = jax.random.normal(keys[1], (features, classes)) / np.sqrt(features)
    labels = jax.random.randint(keys[2], (samples,), 0, classes)
    logits = embeddings @ kernel

    def differentiate(logits: jax.Array, labels: jax.Array, embeddings: jax.Array, kernel: jax.Array) -> jax.Array:
        def align(sample: tuple[jax.Array, jax.Array]) -> jax.Array:
            z, label = sample
            gradient = -jax.grad(lambda w: optax.softmax_cross_entropy_with_integer_labels(z @ w, label))(kernel)
            return jnp.vdot(gradient, kernel) / (jnp.linalg.norm(gradient) * jnp.linalg.norm(kernel))

        return jax.lax.map(align, (embeddings, labels))

    def read(logits: jax.Array, labels: jax.Array, embeddings: jax.Array, kernel: jax.Array) -> jax.Array:
        return textbook_alignment(logits, labels, embeddings, kernel, "float32")

    forms = {"closed form": head_alignment, "textbook": read, "automatic differentiation": differentiate}
    arguments = logits, labels, embeddings, kernel
    return {name: _bind(jax.jit(form), arguments) for name, form in forms.items()}


def build_step_programs(config: Any, data: DataSet) -> tuple[dict[str, Program], dict[str, dict[str, float]]]:
    """A training step without the score, with it, and with dissent beside it; and what XLA says of each program.

    Each program trains a state of its own on one batch of random images.

    Returns:
      The programs, and for each `flops`, `bytes` (read and written) and `temporary_bytes` (held at the peak).
    """
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
    for name, scored, votes in (("without", False, None), ("with the score", True, None), ("and dissent", True, past)):
        device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        keeps_ema = recipe.ema_decay > 0
        state = create_state(recipe.model, recipe.optimizer, data.image_shape, config.seed, device, keeps_ema)
        compiled = (
            jax.jit(step, static_argnames="scored", donate_argnums=0).lower(state, batch, votes, scored).compile()
        )
        programs[name] = _carry(compiled, state, batch, votes)
        cost = compiled.cost_analysis() or {}
        memory = compiled.memory_analysis()
        counts[name] = {
            "flops": float(cost.get("flops", np.nan)),
            "bytes": float(cost.get("bytes accessed", np.nan)),
            "temporary_bytes": float(memory.temp_size_in_bytes) if memory else np.nan,
        }
    return programs, counts


def _bind(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Program:
    return lambda: function(*arguments)


def _carry(compiled: Callable[..., Any], state: Any, batch: Any, past: Any) -> Program:
    """A program that goes on from the state that its last call returned."""

    def run() -> Any:
        nonlocal state
        state, metrics = compiled(state, batch, past)
        return state, metrics

    return run
