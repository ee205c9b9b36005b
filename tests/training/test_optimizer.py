"""The optax chains against the update rules written out by hand."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import base
from errors import UserError
from training import optimizer

PARAMS = {"head": {"kernel": jnp.array([[1.0, -2.0]]), "bias": jnp.array([0.5, 3.0])}}
GRADIENT = {"head": {"kernel": jnp.array([[3.0, 4.0]]), "bias": jnp.array([0.0, 12.0])}}  # of norm 13


def config(**fields):
    config = base.get_config().optimizer
    config.update(fields)
    return config


def first_update(**fields):
    chain = optimizer.build_optimizer(config(**fields), 100)
    update, _ = chain.update(GRADIENT, chain.init(PARAMS), PARAMS)
    return update["head"]


def test_cosine_with_warmup():
    schedule = optimizer.build_schedule(config(learning_rate=0.4, warmup_steps=10), 110)
    steps = np.arange(111)
    expected = np.where(steps < 10, 0.4 * steps / 10, 0.2 * (1 + np.cos(np.pi * (steps - 10) / 100)))
    np.testing.assert_allclose([schedule(step) for step in steps], expected, atol=1e-7)


@pytest.mark.parametrize("warmup", [0, 10_000])
def test_a_cosine_that_ends_elsewhere_than_the_run(warmup):
    """Of the paper's ImageNet runs: 112,680 steps, of which the last 29 have the learning rate 0."""
    fields = {"learning_rate": 1e-3, "warmup_steps": warmup, "cosine_steps": 112_651}
    schedule = optimizer.build_schedule(config(**fields), 112_680)
    optaxs = optax.warmup_cosine_decay_schedule(0.0 if warmup else 1e-3, 1e-3, warmup, 112_651)
    for step in (0, 1, 5_000, 10_000, 60_000, 112_000):
        assert float(schedule(step)) == pytest.approx(float(optaxs(step)), rel=1e-6)
    last = 1e-3 / 2 * (1 + np.cos(np.pi * (112_650 - warmup) / (112_651 - warmup)))
    assert 0 < last < 1e-12
    assert float(schedule(112_650)) == pytest.approx(last, abs=1e-10)
    assert {float(schedule(step)) for step in (112_651, 112_679)} == {0.0}


def test_a_run_may_end_before_its_schedule():
    schedule = optimizer.build_schedule(config(learning_rate=1.0, cosine_steps=200), 100)
    assert float(schedule(100)) == pytest.approx(0.5)


def test_constant():
    schedule = optimizer.build_schedule(config(learning_rate=0.4, schedule="constant"), 50)
    assert {round(float(schedule(step)), 6) for step in (0, 20, 49)} == {0.4}


def test_sgd_and_its_momentum():
    chain = optimizer.build_optimizer(config(name="sgd", learning_rate=0.1, schedule="constant"), 100)
    state, total = chain.init(PARAMS), jnp.zeros((1, 2))
    for velocity in (1.0, 1.9, 2.71):  # 1, 1 + 0.9, 1 + 0.9·1.9
        update, state = chain.update(GRADIENT, state, PARAMS)
        np.testing.assert_allclose(update["head"]["kernel"], -0.1 * velocity * GRADIENT["head"]["kernel"], rtol=1e-6)
        total += update["head"]["kernel"]


def test_adam_moves_by_the_learning_rate_at_first():
    update = first_update(name="adam", learning_rate=0.1)
    np.testing.assert_allclose(update["kernel"], [[-0.1, -0.1]], rtol=1e-5)
    np.testing.assert_allclose(update["bias"], [0.0, -0.1], rtol=1e-5)


@pytest.mark.parametrize(("decay", "bias_decays"), [("kernels", 0.0), ("all", 1.0)])
@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_weight_decay_is_scaled_by_the_learning_rate(name, decay, bias_decays):
    fields = {"name": name, "learning_rate": 0.1, "decay": decay}
    plain, decayed = first_update(**fields), first_update(**fields, weight_decay=0.01)
    kernel, bias = PARAMS["head"]["kernel"], PARAMS["head"]["bias"]
    np.testing.assert_allclose(decayed["kernel"] - plain["kernel"], -0.1 * 0.01 * kernel, rtol=1e-4)
    np.testing.assert_allclose(decayed["bias"] - plain["bias"], -0.1 * 0.01 * bias_decays * bias, rtol=1e-3, atol=1e-7)


def test_clipping_shrinks_the_whole_gradient():
    update = first_update(name="sgd", learning_rate=1.0, clip_norm=1.3)
    assert float(optax.tree.norm(update)) == pytest.approx(1.3)
    np.testing.assert_allclose(update["kernel"], [[-0.3, -0.4]], rtol=1e-5)
    loose = first_update(name="sgd", learning_rate=1.0, clip_norm=20.0)
    np.testing.assert_allclose(loose["bias"], [0.0, -12.0])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"warmup_steps": 100}, "optimizer.warmup_steps"),
        ({"cosine_steps": 98}, "optimizer.cosine_steps is 98; .* 100, .* rate 0"),
        ({"cosine_steps": 99, "warmup_steps": 99}, "optimizer.cosine_steps is 99"),
        ({"name": "adam", "weight_decay": 0.1}, "optimizer.weight_decay"),
    ],
)
def test_mistakes(fields, message):
    with pytest.raises(UserError, match=message):
        optimizer.build_optimizer(config(**fields), 100)


def test_more_steps_than_int32_counts_are_refused():
    with pytest.raises(UserError, match="epochs: the run would have 2147483648 updates"):
        optimizer.build_schedule(config(), 2**31)
