"""The README's snippets run, and what they compute is what they say."""

import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from repository import ROOT

from gwa import RULES, MaxGWA, Moments

README = (ROOT / "README.md").read_text()
LOOP, EPOCH = (block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "gwa_score" in block)


def test_own_loop():
    rng = np.random.default_rng(0)
    names = {
        "jax": jax,
        "apply": lambda params, images: (images @ params["head"]["kernel"] + params["head"]["bias"][None], images),
        "cross_entropy": optax.softmax_cross_entropy_with_integer_labels,
        "params": {"head": {"kernel": jnp.asarray(rng.standard_normal((6, 4))), "bias": jnp.zeros(4)}},
        "images": jnp.asarray(rng.standard_normal((16, 6))),
        "labels": jnp.asarray(rng.integers(0, 4, 16)),
        "moments": Moments.of([]),
        "rule": MaxGWA(patience=10),
        "state": MaxGWA(patience=10).init(),
        "epoch": 1,
        "epochs": 5,
    }
    exec(LOOP, names)
    exec(LOOP.partition("(loss, alignment)")[1] + LOOP.partition("(loss, alignment)")[2], names)  # a second step
    exec(EPOCH, names)
    assert float(names["moments"].count) == 32
    assert names["verdict"].best_epoch == 1

    def loss_of_one(kernel, image, label):
        return optax.softmax_cross_entropy_with_integer_labels(image @ kernel, label)

    kernel = names["params"]["head"]["kernel"]
    gradient = -jax.vmap(jax.grad(loss_of_one), (None, 0, 0))(kernel, names["images"], names["labels"])
    norms = jnp.linalg.norm(gradient, axis=(1, 2)) * jnp.linalg.norm(kernel)
    np.testing.assert_allclose(names["alignment"], jnp.einsum("bij,ij->b", gradient, kernel) / norms, atol=1e-6)


def test_the_table_is_that_of_the_records():
    command = [sys.executable, "scripts/tables.py", "results"]
    page = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert page == (ROOT / "results" / "README.md").read_text()
    single_runs = page.partition("## Single runs")[2].partition("\n## ")[0]
    rows = [line for line in single_runs.splitlines() if line.startswith("|")]
    assert len(rows) > 2
    assert "\n".join(rows) in README


@pytest.mark.parametrize("name", RULES)
def test_every_rule_is_in_the_table(name):
    assert any(f"`{name}`" in line.split("|")[1] for line in README.splitlines() if line.startswith("| `"))
