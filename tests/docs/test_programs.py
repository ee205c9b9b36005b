"""The programs in docs/jax.md run, and their scores are the cosines of each framework's own gradients."""

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from flax import nnx

from repository import ROOT

from gwa import Moments

PAGE = (ROOT / "docs" / "jax.md").read_text()
TITLES = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)[:3]
PROGRAMS = dict(zip(TITLES, re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL), strict=True))


def linen_gradients(names, images, labels):
    def gradient(image, label):
        return jax.grad(lambda params: names["loss_fn"](params, image[None], label[None])[0])(names["params"])

    return jax.vmap(gradient)(images, labels)["head"]["kernel"], names["params"]["head"]["kernel"]


def nnx_gradients(names, images, labels):
    structure, params = nnx.split(names["model"])

    def gradient(image, label):
        return jax.grad(lambda p: names["loss_fn"](nnx.merge(structure, p), image[None], label[None])[0])(params)

    return jax.vmap(gradient)(images, labels)["head"]["kernel"][...], names["model"].head.kernel[...]


def equinox_gradients(names, images, labels):
    def gradient(image, label):
        return eqx.filter_grad(lambda model: names["loss_fn"](model, image[None], label[None])[0])(names["model"])

    return jax.vmap(gradient)(images, labels).head.weight, names["model"].head.weight


def cosines(gradients, weights):
    """Between each sample's negative gradient and the weights, in float64."""
    gradients, weights = (np.asarray(array, np.float64) for array in (gradients, weights))
    products = -np.einsum("bij,ij->b", gradients, weights)
    return products / np.linalg.norm(gradients, axis=(1, 2)) / np.linalg.norm(weights)


def linen_step(names, moments, *batch):
    names["params"], names["optimizer_state"], moments = names["train_step"](
        names["params"], names["optimizer_state"], moments, *batch
    )
    return moments


def nnx_step(names, moments, *batch):
    return names["train_step"](names["model"], names["optimizer"], moments, *batch)


def equinox_step(names, moments, *batch):
    names["model"], names["optimizer_state"], moments = names["train_step"](
        names["model"], names["optimizer_state"], moments, *batch
    )
    return moments


@pytest.mark.parametrize(
    ("title", "gradients_of", "step"),
    [
        ("Flax linen", linen_gradients, linen_step),
        ("Flax nnx", nnx_gradients, nnx_step),
        ("Equinox", equinox_gradients, equinox_step),
    ],
)
def test_program(title, gradients_of, step, capsys):
    assert PROGRAMS[title].count("# gwa\n") == 3
    names = {"__name__": "program"}
    exec(PROGRAMS[title], names)
    assert "keep epoch" in capsys.readouterr().out
    assert float(names["moments"].count) == len(names["images"]) == 1797
    assert names["verdict"].best_epoch in (1, 2, 3)
    assert 0 < float(names["moments"].mean) < 1

    # Two more steps: what they add to the moments are the cosines of the framework's own gradients.
    moments, expected = Moments.of([]), []
    for start in (0, 64):
        batch = names["images"][start : start + 64], jnp.asarray(names["labels"][start : start + 64])
        expected.append(cosines(*gradients_of(names, *batch)))
        moments = step(names, moments, *batch)
    scores = np.concatenate(expected)
    assert float(moments.mean) == pytest.approx(scores.mean(), abs=1e-6)
    assert float(moments.variance) == pytest.approx(scores.var(), rel=1e-4)
    assert float(moments.excess_kurtosis) == pytest.approx(scipy.stats.kurtosis(scores), abs=1e-3)
