"""score: the alignments of a batch by our closed form, by the formula as it reads, and by differentiating each loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.comparison import Comparison, Options, compare, time_program
from gwa import head_alignment
from training.estimators import textbook_alignment

SHAPES = ((256, 192, 10), (1024, 384, 1000), (512, 768, 8142))
"""Samples, features and classes: of CIFAR-10, of ImageNet, of iNaturalist 2018."""


def measure(options: Options) -> list[Comparison]:
    """One comparison per shape."""
    return [
        compare(
            f"{samples} samples, {features} features, {classes} classes",
            {name: time_program(form) for name, form in build_forms(samples, features, classes).items()},
            options.rounds,
        )
        for samples, features, classes in SHAPES
    ]


def build_forms(samples: int, features: int, classes: int) -> dict[str, Callable[[], Any]]:
    """The forms by name, compiled, on the same random batch."""
    logits, labels, embeddings, kernel = draw_batch(samples, features, classes)

    def differentiate(logits: jax.Array, labels: jax.Array, embeddings: jax.Array, kernel: jax.Array) -> jax.Array:
        def align(sample: tuple[jax.Array, jax.Array]) -> jax.Array:
            z, label = sample
            gradient = -jax.grad(lambda w: optax.softmax_cross_entropy_with_integer_labels(z @ w, label))(kernel)
            return jnp.vdot(gradient, kernel) / (jnp.linalg.norm(gradient) * jnp.linalg.norm(kernel))

        return jax.lax.map(align, (embeddings, labels))

    def read(logits: jax.Array, labels: jax.Array, embeddings: jax.Array, kernel: jax.Array) -> jax.Array:
        return textbook_alignment(logits, labels, embeddings, kernel, "float32")

    def bind(form: Callable[..., jax.Array]) -> Callable[[], jax.Array]:
        compiled = jax.jit(form)
        return lambda: compiled(logits, labels, embeddings, kernel)

    forms = {"closed form": head_alignment, "textbook": read, "automatic differentiation": differentiate}
    return {name: bind(form) for name, form in forms.items()}


def draw_batch(samples: int, features: int, classes: int) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Random logits, labels, embeddings and kernel that belong together."""
    keys = jax.random.split(jax.random.key(0), 3)
    embeddings = jax.random.normal(keys[0], (samples, features))
    kernel = jax.random.normal(keys[1], (features, classes)) / np.sqrt(features)
    return embeddings @ kernel, jax.random.randint(keys[2], (samples,), 0, classes), embeddings, kernel
