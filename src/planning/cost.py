"""What a config will cost on accelerators: counted from its programs, which are traced and lowered but never run."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.extend import core

from datasets.feeds.augment import normalize
from errors import UserError
from planning.accelerators import ACCELERATORS
from planning.compilation import trace_for
from training.state import TrainState, state_shapes
from training.step import Recipe, build_recipe, cross_entropy, forward, train_step


class DataSet(NamedTuple):
    """A data set as far as a plan needs it: training images, classes, side in pixels or 0 where it varies, channels."""

    train_examples: int
    classes: int
    side: int = 0
    channels: int = 3

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        return self.side, self.side, self.channels


DATA_SETS = {
    "digits": DataSet(1_438, 10, 8, 1),
    "cifar10": DataSet(50_000, 10, 32),
    "cifar10_n": DataSet(50_000, 10, 32),
    "cifar100": DataSet(50_000, 100, 32),
    "imagenet2012": DataSet(1_281_167, 1000),
    "i_naturalist2018": DataSet(437_513, 8142),
    "places365_small": DataSet(1_803_460, 365),
}

PUBLISHED = {
    "vit_s16": (22.1e6, 4.6e9),
    "vit_b16": (86.6e6, 17.6e9),
    "convnextv2_atto": (3.7e6, 0.55e9),
    "convnextv2_femto": (5.2e6, 0.78e9),
    "convnextv2_pico": (9.1e6, 1.37e9),
}
"""Parameters and multiply-adds (called FLOPs there) at 224 px and 1000 classes: Touvron et al., arXiv 2012.12877, and
Dosovitskiy et al., arXiv 2010.11929, for the ViT; Woo et al., arXiv 2301.00808, for ConvNeXt V2 with 7×7 kernels."""

UTILISATION = 0.3
"""Of the peak rate. On ViT-S/16 the paper's 1,861 images/s are a third of an A6000's, and the 90 epochs in 6.5 h of
Beyer et al. (arXiv 2205.01580) are 0.28 of a TPU v3-8's."""

TRAFFIC = 6
"""How often each kept activation crosses the memory: 4.6 to 6.9 times in the networks of configs/, by the bytes of
their programs as XLA compiles them for an H100 that is not there."""

BANDWIDTH_USED = 0.55
"""Share of the memory's peak rate. By the same bytes, the paper's ViT reached 0.48 and its ConvNeXt 0.58 on one H200
(docs/performance.md)."""

CROPS_PER_CORE = 650.0
"""Training crops of 224 px from JPEGs of about 500 px that the feed delivers per second and core: on an x86-64 virtual
machine 1,292 with two threads on two cores, 684 with one (docs/streaming.md)."""


@dataclasses.dataclass(frozen=True)
class Size:
    """A network: how many parameters, and how many multiply-adds in the products and convolutions of a forward pass."""

    parameters: int
    multiply_adds: int


@dataclasses.dataclass(frozen=True)
class Program:
    """What counting the programs of a config gives.

    Attributes:
      size: of the network.
      forward_flops: per image, by XLA's cost analysis: 2 per multiply-add, and every elementwise operation.
      train_flops: the same for the whole training step, with gradients, scores and optimiser.
      parameter_bytes, optimizer_bytes: of the state, averaged parameters with the latter; gradients take as much as the
        parameters.
      activation_bytes: per image, what differentiation keeps of the forward pass for the backward pass; what a compiler
        needs besides, or saves, is not in it.
      fixed_bytes: what it keeps independently of the batch, such as copies of the parameters in the compute dtype.
    """

    size: Size
    forward_flops: float
    train_flops: float
    parameter_bytes: int
    optimizer_bytes: int
    activation_bytes: int
    fixed_bytes: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a config costs on its devices.

    Attributes:
      program: what its programs are made of.
      steps: updates of the whole run.
      batch_per_device: images.
      memory: bytes on each device, estimated.
      images_per_second: of all devices together, at best.
      limit: what sets that speed, `arithmetic` or `memory traffic`.
      decoding_cores: CPU cores that decode as many images.
      days: of training, without evaluation.
    """

    program: Program
    steps: int
    batch_per_device: int
    memory: float
    images_per_second: float
    limit: str
    decoding_cores: float
    days: float


def find_data_set(config: Any, classes: int | None, train_examples: int | None) -> DataSet:
    """The data set of a config by its name; the user's `classes` and `train_examples` come first.

    Raises:
      UserError: when neither the name nor the user says how large it is.
    """
    known = DATA_SETS.get(config.dataset.name, DataSet(0, 0))
    classes = classes or len(config.dataset.classes or ()) or known.classes
    train_examples = train_examples or config.dataset.train_examples or known.train_examples
    side = config.dataset.image_size or known.side
    for value, what in (
        (classes, "--classes=N"),
        (train_examples, "--train_examples=N"),
        (side, "--config.dataset.image_size=PIXELS"),
    ):
        if not value:
            raise UserError(f"the size of the data set {config.dataset.name!r} is not known; give {what}")
    held_out = round(config.dataset.val_fraction * train_examples)
    return DataSet(train_examples - held_out, classes, side, known.channels)


def make_plan(
    config: Any, data: DataSet, accelerator: str, devices: int, utilisation: float, crops_per_core: float
) -> Plan:
    """The cost of training as the config says, without evaluation.

    Args:
      config: of a run.
      data: its data set, with a `side`.
      accelerator: a name of ACCELERATORS.
      devices: how many of them share each batch.
      utilisation: share of the peak rate that training reaches, (0, 1].
      crops_per_core: images that a CPU core decodes in a second.

    Raises:
      UserError: for an unknown accelerator, or an impossible number.
    """
    if accelerator not in ACCELERATORS:
        raise UserError(f"there is no accelerator {accelerator!r}; there are {', '.join(ACCELERATORS)}")
    if not 0 < utilisation <= 1:
        raise UserError(f"--utilisation is {utilisation}; it must be a share in (0, 1]")
    if crops_per_core <= 0:
        raise UserError(f"--crops_per_core is {crops_per_core}; it must be above 0")
    parts = devices * config.optimizer.accumulation_steps
    if devices < 1 or config.batch_size % parts:
        raise UserError(f"batch_size is {config.batch_size}; it must be a multiple of the {parts} parts it is split in")
    steps = count_steps(config, data)
    program = count_program(config, data, steps)
    shards = devices if config.sharding == "fsdp" else 1
    memory = (2 * program.parameter_bytes + program.optimizer_bytes) / shards
    memory += program.fixed_bytes + config.batch_size // parts * program.activation_bytes
    peak = 1e12 * getattr(ACCELERATORS[accelerator], config.network.compute_dtype)
    computing = program.train_flops / (utilisation * peak)
    moving = TRAFFIC * program.activation_bytes / find_bandwidth(accelerator)
    images_per_second = devices / max(computing, moving)
    return Plan(
        program,
        steps,
        config.batch_size // devices,
        memory,
        images_per_second,
        "memory traffic" if moving > computing else "arithmetic",
        images_per_second / crops_per_core,
        config.epochs * data.train_examples / images_per_second / 86_400,
    )


def find_bandwidth(accelerator: str) -> float:
    """Bytes per second that a training step is expected to read and write."""
    return 1e12 * BANDWIDTH_USED * ACCELERATORS[accelerator].bandwidth


def count_steps(config: Any, data: DataSet) -> int:
    """Updates of a whole run; the last batch of an epoch may be a part of one."""
    return config.epochs * -(-data.train_examples // config.batch_size)


def count_program(config: Any, data: DataSet, steps: int) -> Program:
    """Counts what the config's network and training step do, from their traces.

    Raises:
      UserError: for a network or an optimiser that cannot be built.
    """
    recipe, shape = build_recipe(config, data.classes, steps), data.image_shape
    recipe = dataclasses.replace(recipe, accumulation_steps=1)  # the sum is the same
    model, chain = recipe.model, recipe.optimizer
    with trace_for("gpu"):
        state = state_shapes(model, chain, shape, recipe.ema_decay > 0)
        forward_pass: Any = jax.jit(model.apply).lower(*_forward_shapes(model, shape))
        few, many = (_count_train_flops(recipe, state, shape, batch) for batch in (2, 4))
        kept_of_few, kept_of_many = (_count_kept_bytes(recipe, state, shape, batch) for batch in (2, 4))
        return Program(
            measure_network(model, shape),
            forward_pass.cost_analysis()["flops"],
            (many - few) / 2,
            _count_bytes(state.params),
            _count_bytes((state.opt_state, state.ema)),
            (kept_of_many - kept_of_few) // 2,
            2 * kept_of_few - kept_of_many,
        )


def measure_network(model: nn.Module, shape: tuple[int, ...]) -> Size:
    """Parameters of a network and multiply-adds of its forward pass, for one image of this shape."""
    with trace_for("gpu"):
        variables, image = _forward_shapes(model, shape)
        jaxpr = jax.make_jaxpr(model.apply)(variables, image).jaxpr
    return Size(sum(leaf.size for leaf in jax.tree.leaves(variables)), sum(_count_multiply_adds(jaxpr)))


def _forward_shapes(model: nn.Module, shape: tuple[int, ...]) -> tuple[Any, jax.ShapeDtypeStruct]:
    image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    return {"params": jax.eval_shape(model.init, jax.random.key(0), image)["params"]}, image


def _count_multiply_adds(jaxpr: core.Jaxpr) -> Iterator[int]:
    """The multiply-adds of every product and convolution, also in the functions that it calls."""
    for equation in jaxpr.eqns:
        result: Any = equation.outvars[0].aval
        operands: list[Any] = [variable.aval for variable in equation.invars]
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            yield result.size * math.prod(operands[0].shape[axis] for axis in contracted)
        elif equation.primitive.name == "conv_general_dilated":
            outputs = operands[1].shape[equation.params["dimension_numbers"].rhs_spec[0]]
            yield result.size * operands[1].size // outputs
        for called in equation.params.values():
            if isinstance(called, core.ClosedJaxpr):
                yield from _count_multiply_adds(called.jaxpr)
            elif isinstance(called, core.Jaxpr):
                yield from _count_multiply_adds(called)


def _count_train_flops(recipe: Recipe, state: TrainState, shape: tuple[int, ...], batch_size: int) -> float:
    batch = {
        "image": jax.ShapeDtypeStruct((batch_size, *shape), jnp.uint8),
        "label": jax.ShapeDtypeStruct((batch_size,), jnp.int32),
        "index": jax.ShapeDtypeStruct((batch_size,), jnp.int32),
        "mask": jax.ShapeDtypeStruct((batch_size,), jnp.float32),
    }
    epoch = jax.ShapeDtypeStruct((), jnp.int32)
    step: Any = jax.jit(functools.partial(train_step, recipe)).lower(state, batch, epoch)
    return step.cost_analysis()["flops"]


def _count_kept_bytes(recipe: Recipe, state: TrainState, shape: tuple[int, ...], batch_size: int) -> int:
    """What the backward pass keeps from the forward pass."""

    def backward(params: Any, images: jax.Array, targets: jax.Array, key: jax.Array) -> Any:
        def loss(params: Any) -> jax.Array:
            return cross_entropy(forward(recipe, params, normalize(images), key)[0], targets).mean()

        return jax.vjp(loss, params)[1]

    images = jax.ShapeDtypeStruct((batch_size, *shape), jnp.uint8)
    targets = jax.ShapeDtypeStruct((batch_size, recipe.num_classes), jnp.float32)
    return _count_bytes(jax.eval_shape(backward, state.params, images, targets, state.rng))


def _count_bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
