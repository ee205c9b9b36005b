"""accelerator: the training step of a config on the device at hand, in several forms, against what the device can do.

What runs is the program that training dispatches, on the config's own data. Every other form differs from it in one
thing. The ceilings are those of a large matrix product and of a large copy, measured in the same process.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.comparison import Comparison, Options, compare
from networks import folding, functional
from parallel import devices
from planning.cost import measure_network
from planning.traffic import count_bytes
from training import step
from training.collector import Collector
from training.prepare import Setup, initialize, prepare
from training.state import TrainState

_SECONDS = 0.3
"""How long a measurement takes at least; the dispatch of one block is much shorter."""


@dataclasses.dataclass(frozen=True)
class Form:
    """How a form of the step differs from the configured one.

    Attributes:
      fields: of the config.
      patch: a context in which the step is traced.
      networks: the beginning of their names, where the form says anything.
    """

    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    patch: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
    networks: str = ""


@contextlib.contextmanager
def _without_score() -> Iterator[None]:
    with mock.patch.object(step, "head_alignment", lambda logits, *_: jnp.zeros(len(logits))):
        yield


FORMS = {
    "as configured": Form(),
    "without the score": Form(patch=_without_score),
    "depthwise convolution as shifts": Form(
        patch=lambda: mock.patch.object(functional, "depthwise_conv", functional.depthwise_conv_shifts),
        networks="convnext",
    ),
    "norms not folded": Form(patch=lambda: mock.patch.object(folding, "folds", return_value=False)),
    "bfloat16": Form({"network.compute_dtype": "bfloat16"}),
    "products in full float32": Form(patch=lambda: jax.default_matmul_precision("highest")),
    "1 step per dispatch": Form({"steps_per_dispatch": 1}),
}


def measure(options: Options) -> list[Comparison]:
    """The ceilings, and the forms of the step."""
    ceilings = measure_ceilings(options.rounds)
    with prepare(options.load_config()) as setup:
        forms, state = list_forms(setup.config), initialize(setup, fresh=True)
        with concurrent.futures.ThreadPoolExecutor() as pool:  # XLA compiles without Python's lock
            programs = {name: pool.submit(Program(setup, state, form).compile) for name, form in forms.items()}
        compiled = {name: future.result() for name, future in programs.items()}
        return [*ceilings, compare_forms(setup, compiled, options)]


def list_forms(config: Any) -> dict[str, Form]:
    """The forms by name, without those that the config's network does not have."""
    return {name: form for name, form in FORMS.items() if config.network.name.startswith(form.networks)}


def compare_forms(setup: Setup, programs: Mapping[str, Program], options: Options) -> Comparison:
    """Milliseconds per step of compiled programs, with the images per second and the rates that they come to."""
    multiply_adds = measure_network(setup.recipe.model, setup.splits.train.image_shape).multiply_adds
    comparison = compare(
        f"a step of {options.config}",
        {name: program.time for name, program in programs.items()},
        options.rounds,
        further={name: program.figures for name, program in programs.items()},
    )
    ways = {}
    for name, figures in comparison.ways.items():
        seconds = figures.cost[1] / 1e3
        rates = {
            "images/s": setup.batch_size / seconds,
            "TFLOP/s": 3 * 2 * multiply_adds * setup.batch_size / seconds / 1e12,  # of the products, forward and back
        }
        if "GB" in figures.further:
            rates["TB/s"] = figures.further["GB"] / seconds / 1e3
        ways[name] = dataclasses.replace(figures, further={**rates, **figures.further})
    return dataclasses.replace(comparison, ways=ways)


class Program:
    """A form of the training program, traced; `compile` makes it ready to run, with a state of its own."""

    def __init__(self, setup: Setup, state: TrainState, form: Form):
        config = setup.config.copy_and_resolve_references()
        with config.unlocked():
            config.update_from_flattened_dict(dict(form.fields))
        total_steps = config.epochs * setup.steps_per_epoch
        recipe = step.build_recipe(config, setup.recipe.num_classes, total_steps)
        everywhere, labels = devices.replicated_sharding(setup.mesh), setup.splits.train.labels
        self._steps = min(config.steps_per_dispatch, setup.steps_per_epoch)
        batches, _ = next(setup.feeds["train"].read_epoch(1, setup.batch_size, self._steps))
        votes = (devices.place(np.full(len(labels), -1, np.int32), everywhere),) if setup.needs_past else ()
        constants = (batches, *step.block_numbers(self._steps, 2, setup.mesh), *votes)
        self._state = jax.tree.map(jnp.copy, state)  # training gives it away
        self._running = devices.place(Collector().running(labels), everywhere)
        self._dispatches = 1
        with form.patch():
            program = step.jit_train_block(recipe, setup.shardings, setup.mesh)
            self._lowered: Any = program.lower(self._state, self._running, *constants)
        self._constants = [value for value in constants if not isinstance(value, int)]  # an int is part of the program

    def compile(self) -> Program:
        """Compiles the program, and reads off how much it moves and holds."""
        started = time.perf_counter()
        self._compiled = self._lowered.compile()
        self.figures = {"compile seconds": time.perf_counter() - started}
        memory = self._compiled.memory_analysis()
        if memory:
            self.figures["GB held"] = memory.temp_size_in_bytes / 1e9
        if jax.default_backend() != "cpu":
            self.figures["GB"] = count_bytes(self._compiled.as_text()) / 1e9
        return self

    def time(self) -> float:
        """Milliseconds per step, over as many dispatches as take `_SECONDS`."""
        started = time.perf_counter()
        for _ in range(self._dispatches):
            self._state, self._running, *_ = self._compiled(self._state, self._running, *self._constants)
        jax.block_until_ready(self._state.step)
        seconds = time.perf_counter() - started
        per_step = seconds / (self._dispatches * self._steps)
        self._dispatches = max(1, round(_SECONDS / (per_step * self._steps)))
        return 1e3 * per_step


def measure_ceilings(rounds: int) -> list[Comparison]:
    """How fast the device multiplies large matrices and copies a large array, of random numbers."""
    on_cpu, device = jax.default_backend() == "cpu", jax.devices()[0].device_kind
    side, length = (1024, 1 << 24) if on_cpu else (8192, 1 << 29)
    a, b = (jax.random.normal(jax.random.key(i), (side, side)) for i in range(2))
    products = {}
    for name, dtype, precision in (
        ("float32", jnp.float32, "default"),
        ("float32, all bits", jnp.float32, "highest"),
        ("bfloat16", jnp.bfloat16, "default"),
    ):
        product = jax.jit(functools.partial(jnp.matmul, precision=precision))
        products[name] = _rate(functools.partial(product, a.astype(dtype), b.astype(dtype)), 2 * side**3 / 1e12)
    large = jax.random.normal(jax.random.key(2), (length,))
    copies = {"read and written": _rate(functools.partial(jax.jit(lambda x: x * 1.5), large), 2 * large.nbytes / 1e12)}
    return [
        compare(f"products of {side}² matrices on {device}", products, rounds, "TFLOP/s"),
        compare(f"copies of {large.nbytes / 1e9:.1f} GB", copies, rounds, "TB/s"),
    ]


def _rate(call: Callable[[], jax.Array], amount: float, calls: int = 8) -> Callable[[], float]:
    def measure() -> float:
        started = time.perf_counter()
        for _ in range(calls):
            result = call()
        jax.block_until_ready(result)
        return amount * calls / (time.perf_counter() - started)

    return measure
