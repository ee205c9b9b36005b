"""The training step: its scores, its masks and its blocks against plain recomputation."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

import networks
from datasets.feeds import batches
from datasets.feeds.augment import Augmentation, normalize
from datasets.feeds.order import cut_into_blocks, shuffle_rows
from parallel import devices
from training import step
from training.state import create_state
from training.step import Recipe, Running

CLASSES = 5
SIDE = 8
# Op by op, a step takes longer than compiling it.
train_step = jax.jit(step.train_step, static_argnums=0)
train_block = jax.jit(step.train_block, static_argnums=0)
evaluate = jax.jit(step.evaluate, static_argnums=0)


class Perceptron(nn.Module):
    """The least that a step asks of a network; it compiles in no time."""

    @nn.compact
    def __call__(self, images, *, train=False):
        hidden = nn.tanh(nn.Dense(16)(images.reshape(len(images), -1)))
        self.sow("latent_embeddings", "embeddings", hidden)
        return nn.Dense(CLASSES, name="head")(hidden)


def recipe(**fields):
    model = Perceptron()
    return Recipe(
        **(
            {"model": model, "optimizer": optax.sgd(0.1), "augmentation": Augmentation(), "num_classes": CLASSES}
            | fields
        )
    )


def state_of(recipe):
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return create_state(recipe.model, recipe.optimizer, (SIDE, SIDE, 3), 0, device)


def images_and_labels(count=24, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "image": jnp.asarray(rng.integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)),
        "label": jnp.asarray(rng.integers(0, CLASSES, count, dtype=np.int32)),
    }


def batch_of(data, rows, mask=None):
    mask = np.ones(len(rows)) if mask is None else mask
    return batches.gather(data, jnp.asarray(rows, jnp.int32), jnp.asarray(mask, jnp.float32))


def single_alignment(model, params, image, target):
    """cos(−∂loss/∂kernel, kernel) of one sample, by autodiff through the whole network."""

    def loss(kernel):
        head = params["head"] | {"kernel": kernel}
        logits = model.apply({"params": params | {"head": head}}, image[None])[0]
        return optax.softmax_cross_entropy(logits, target)

    kernel = params["head"]["kernel"]
    gradient = -jax.grad(loss)(kernel)
    return jnp.vdot(gradient, kernel) / (jnp.linalg.norm(gradient) * jnp.linalg.norm(kernel))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_scores_are_those_of_the_parameters_before_the_update(smoothing):
    r = recipe(label_smoothing=smoothing)
    state, data = state_of(r), images_and_labels()
    _, metrics = train_step(r, state, batch_of(data, range(24)), jnp.int32(1))
    targets = optax.smooth_labels(jax.nn.one_hot(data["label"], CLASSES), smoothing)
    align = jax.jit(jax.vmap(lambda image, target: single_alignment(r.model, state.params, image, target)))
    expected = align(normalize(data["image"]), targets)
    np.testing.assert_allclose(metrics["alignment"], expected, rtol=1e-4, atol=2e-6)
    logits = r.model.apply({"params": state.params}, normalize(data["image"]))
    assert np.array_equal(metrics["prediction"], jnp.argmax(logits, -1))
    assert float(metrics["loss"]) == pytest.approx(float(optax.softmax_cross_entropy(logits, targets).mean()), rel=1e-5)


def test_signals_are_those_of_plain_autodiff():
    """The batch's gradient, the norm of each sample's gradient at the head, and SciPy's entropy."""
    r = recipe(optimizer=optax.chain(optax.clip_by_global_norm(1e-3), optax.sgd(0.1)), textbook_dtype="float32")
    state, data = state_of(r), images_and_labels()
    _, metrics = train_step(r, state, batch_of(data, range(24)), jnp.int32(1))
    images = normalize(data["image"])

    def loss(params, images, labels):
        logits = r.model.apply({"params": params}, images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    gradient = jax.jit(jax.grad(loss))(state.params, images, data["label"])
    squares = sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(gradient))
    assert float(metrics["gradient_norm"]) == pytest.approx(np.sqrt(squares), rel=1e-5)
    each = jax.jit(jax.vmap(jax.grad(loss), (None, 0, 0)))(state.params, images[:, None], data["label"][:, None])
    norms = np.linalg.norm(np.asarray(each["head"]["kernel"]).reshape(24, -1), axis=1)
    assert float(metrics["head_gradient_norm"]) == pytest.approx(norms.mean(), rel=1e-5)
    probabilities = jax.nn.softmax(r.model.apply({"params": state.params}, images))
    assert float(metrics["prediction_entropy"]) == pytest.approx(stats.entropy(probabilities, axis=1).mean(), rel=1e-5)
    # Far from saturation the textbook form is as good as any.
    np.testing.assert_allclose(metrics["textbook"], metrics["alignment"], atol=1e-5)


def assert_same_step(one, other, rtol=1e-5):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-6)


def test_masked_rows_weigh_nothing():
    r = recipe()
    state, data = state_of(r), images_and_labels()
    short, short_metrics = train_step(r, state, batch_of(data, range(10)), jnp.int32(1))
    filled, metrics = train_step(r, state, batch_of(data, range(16), [1] * 10 + [0] * 6), jnp.int32(1))
    assert_same_step(short.params, filled.params)
    np.testing.assert_allclose(metrics["loss"], short_metrics["loss"], rtol=1e-6)
    np.testing.assert_allclose(metrics["alignment"][:10], short_metrics["alignment"], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("parts", [2, 4])
def test_accumulation_is_the_whole_batch(parts):
    data = images_and_labels()
    mask = [1] * 21 + [0] * 3
    whole = recipe(label_smoothing=0.1)
    state = state_of(whole)
    results = [
        train_step(r, state, batch_of(data, range(24), mask), jnp.int32(1))
        for r in (whole, dataclasses.replace(whole, accumulation_steps=parts))
    ]
    assert_same_step(*(result[0].params for result in results))
    for name in results[0][1]:
        np.testing.assert_allclose(results[0][1][name], results[1][1][name], rtol=1e-5, atol=1e-6)


def test_a_block_is_its_steps_one_after_another():
    r = recipe(augmentation=Augmentation(pad=1, flip=True, mixup=0.2), optimizer=optax.adam(1e-2))
    data = images_and_labels(22)
    ((rows, mask, count),) = cut_into_blocks(shuffle_rows(22, 0, 1), 8, 5)
    assert (count, len(rows)) == (3, 5)
    state = state_of(r)
    expected, losses = state, []
    for i in range(count):
        expected, metrics = train_step(r, expected, batches.gather(data, rows[i], mask[i]), jnp.int32(1))
        losses.append(metrics["loss"])
    after, running, so_far, stacked = train_block(
        r, state, Running.start(), batches.Gathered(data, rows, mask), jnp.int32(count), jnp.int32(1)
    )
    assert int(after.step) == count
    assert_same_step(expected.params, after.params, rtol=1e-4)
    np.testing.assert_allclose(stacked["loss"], [*losses, 0, 0], rtol=1e-5)
    counted = mask[:count] > 0
    assert float(running.moments.count) == 22
    np.testing.assert_allclose(running.moments.mean, stacked["alignment"][:count][counted].mean(), rtol=1e-4)
    right = (stacked["prediction"] == data["label"][rows])[:count][counted]
    assert float(so_far["train_accuracy"]) == pytest.approx(right.mean())


def test_a_block_of_fixed_length_is_the_same_block(monkeypatch):
    """Accelerators have a program for each number of steps."""
    r, mesh = recipe(), devices.make_mesh()
    data = images_and_labels(22)
    ((rows, mask, count),) = cut_into_blocks(shuffle_rows(22, 0, 1), 8, 5)
    results = []
    for fixed in (False, True):
        monkeypatch.setattr(step, "_fixes_count", lambda fixed=fixed: fixed)
        block = step.jit_train_block(r, devices.replicated_sharding(mesh), mesh)
        arguments = (Running.start(), batches.Gathered(data, rows, mask), *step.block_numbers(count, 1, mesh))
        loops = str(block.trace(state_of(r), *arguments).jaxpr)
        assert ("length=3" in loops, "while[" in loops) == (fixed, not fixed)
        results.append(block(state_of(r), *arguments))
    jax.tree.map(np.testing.assert_array_equal, *(result[0].params for result in results))
    jax.tree.map(np.testing.assert_array_equal, results[0][3], results[1][3])


def test_augmentation_depends_on_seed_epoch_and_row_alone():
    """The same row in another place of another batch gets the same image, and another one in another epoch."""
    r = recipe(augmentation=Augmentation(pad=3, flip=True))
    data = images_and_labels()
    state = state_of(r)

    def scores(rows, epoch):
        _, metrics = train_step(r, state, batch_of(data, rows), jnp.int32(epoch))
        return dict(zip(rows, np.asarray(metrics["alignment"]), strict=True))

    first, second = scores([3, 1, 4, 15, 9, 2], 1), scores([9, 20, 3, 21, 15, 7], 1)
    for row in (3, 15, 9):
        assert first[row] == pytest.approx(second[row], rel=1e-4, abs=1e-6)
    later = scores([3, 1, 4, 15, 9, 2], 2)
    assert sum(abs(later[row] - first[row]) > 1e-4 for row in first) >= 4


def test_evaluation_counts_every_row_once():
    r = recipe()
    params, data = state_of(r).params, images_and_labels(23)
    logits = r.model.apply({"params": params}, normalize(data["image"]))
    ((rows, mask, _),) = cut_into_blocks(np.arange(23), 5, 5)
    metrics = evaluate(r.model, params, batches.Gathered(data, rows, mask))
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, data["label"])
    assert float(metrics["loss"]) == pytest.approx(float(losses.sum()), rel=1e-5)
    assert int(metrics["correct"]) == int(jnp.sum(jnp.argmax(logits, -1) == data["label"]))
    assert int(metrics["count"]) == 23


def test_dropout_is_active_and_changes_with_the_step():
    """At learning rate 0 nothing but the dropout mask differs between two steps on the same batch."""
    model = networks.build(
        {"name": "vit", "patch_size": 4, "width": 16, "depth": 1, "mlp_dim": 16, "num_heads": 2, "dropout": 0.5},
        CLASSES,
    )
    r = recipe(model=model, optimizer=optax.sgd(0.0))
    state, batch = state_of(r), batch_of(images_and_labels(), range(24))
    after, first = train_step(r, state, batch, jnp.int32(1))
    _, again = train_step(r, state, batch, jnp.int32(1))
    _, second = train_step(r, after, batch, jnp.int32(1))
    assert float(first["loss"]) == float(again["loss"])
    assert abs(float(first["loss"]) - float(second["loss"])) > 1e-4


def test_the_state_begins_as_its_seed_says():
    r = recipe()
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    first, same, other = (create_state(r.model, r.optimizer, (SIDE, SIDE, 3), seed, device) for seed in (0, 0, 1))
    kernels = [state.params["head"]["kernel"] for state in (first, same, other)]
    assert np.array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[0], kernels[2])


def test_the_state_is_that_of_a_program_with_all_optimisations():
    r = recipe()
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    state = create_state(r.model, r.optimizer, (SIDE, SIDE, 3), 3, device)
    init = jax.jit(lambda key: r.model.init(key, jnp.zeros((1, SIDE, SIDE, 3)))["params"])
    params = init(jax.random.fold_in(jax.random.key(3), 0))
    jax.tree.map(np.testing.assert_array_equal, state.params, params)
