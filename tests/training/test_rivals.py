"""The further rivals against explicit autodiff, SciPy, and networks that were refitted without a sample."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import scipy.stats
from small_runs import files, small

from training import loop, signals
from training.rivals import RIVALS, draw_random_labels, leave_one_out_losses


def measure(setting, name, **parameters):
    rule = RIVALS[name](batches=4, **parameters)
    compiled, _ = signals.build_measurements([rule], setting.recipe, 4)[rule.needs[0]]
    return float(compiled(setting.state, *setting.block))


def predict(setting, params, images):
    return setting.recipe.model.apply({"params": params}, images)


def test_the_batch_gradient_is_that_of_the_mean_loss_at_the_head(setting):
    expected = []
    for images, labels in setting.batches:

        def loss(params, images=images, labels=labels):
            logits = predict(setting, params, images)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        gradient = jax.grad(loss)(setting.state.params)["head"]["kernel"]
        _, variables = setting.recipe.model.apply({"params": setting.state.params}, images, mutable=True)
        (embeddings,) = variables["latent_embeddings"]["embeddings"]
        expected.append(np.linalg.norm(gradient) / np.linalg.norm(embeddings))
    assert measure(setting, "lowest_batch_gradient") == pytest.approx(np.mean(expected), rel=1e-5)


def test_the_entropy_is_that_of_the_two_most_probable_classes(setting):
    expected = []
    for images, _ in setting.batches:
        probabilities = np.sort(scipy.special.softmax(predict(setting, setting.state.params, images), axis=-1))
        expected.append(scipy.stats.entropy(probabilities[:, -2:], axis=-1).mean())
    assert measure(setting, "lowest_top_two_entropy") == pytest.approx(np.mean(expected), rel=1e-5)


def test_susceptibility_is_the_drop_of_the_loss_on_random_labels(setting):
    drops = []
    for (images, _), rows in zip(setting.batches, setting.rows, strict=True):
        random_labels = draw_random_labels(setting.state.rng, jnp.asarray(rows), 4)

        def loss(params, images=images, labels=random_labels):
            logits = predict(setting, params, images)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        before, gradient = jax.value_and_grad(loss)(setting.state.params)
        norm = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(gradient)))
        down = jax.tree.map(lambda leaf, slope, norm=norm: leaf - 0.3 * slope / norm, setting.state.params, gradient)
        drops.append(float(before - loss(down)))
    assert measure(setting, "accuracy_per_susceptibility", radius=0.3) == pytest.approx(np.mean(drops), rel=1e-4)


def test_random_labels_are_uniform_and_belong_to_rows():
    key = jax.random.key(0)
    labels = np.asarray(draw_random_labels(key, jnp.arange(5000), 5))
    assert scipy.stats.chisquare(np.bincount(labels, minlength=5)).pvalue > 0.001
    np.testing.assert_array_equal(draw_random_labels(key, jnp.array([7, 3]), 5), labels[[7, 3]])


def test_accuracy_per_susceptibility_prefers_what_is_fitted_without_being_susceptible():
    records = [
        {"epoch": 1, "progress": 0.5, "train_accuracy": 0.6, "susceptibility": 0.02},
        {"epoch": 2, "progress": 0.8, "train_accuracy": 0.8, "susceptibility": 0.02},
        {"epoch": 3, "progress": 1.0, "train_accuracy": 0.9, "susceptibility": 0.05},
    ]
    assert RIVALS["accuracy_per_susceptibility"]().select(records) == 2


def fit_head(embeddings, targets, keep):
    """The kernel that minimises the cross-entropy of the samples to keep, by Newton's method."""
    shape = embeddings.shape[1], targets.shape[1]

    @jax.jit
    def improve(kernel):
        def loss(flat):
            losses = optax.softmax_cross_entropy(embeddings @ flat.reshape(shape), targets)
            return jnp.sum(keep * losses) + 1e-3 * jnp.sum(jnp.square(flat))

        return kernel - jnp.linalg.lstsq(jax.hessian(loss)(kernel), jax.grad(loss)(kernel))[0]

    kernel = jnp.zeros(shape[0] * shape[1])
    for _ in range(12):
        kernel = improve(kernel)
    return kernel.reshape(shape)


def test_leave_one_out_losses_are_those_of_heads_that_were_fitted_without_the_sample():
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(60, 4)).astype(np.float32)
    labels = [rng.choice(3, p=scipy.special.softmax(row)) for row in embeddings @ rng.normal(size=(4, 3)) * 0.7]
    targets = np.eye(3, dtype=np.float32)[labels]
    logits = embeddings @ fit_head(embeddings, targets, np.ones(60))
    expected = []
    for i in range(60):
        kernel = fit_head(embeddings, targets, np.arange(60) != i)
        expected.append(float(optax.softmax_cross_entropy(embeddings[i] @ kernel, targets[i])))
    actual = leave_one_out_losses(logits, targets, embeddings, np.ones(60), 1.0)
    fitted = float(optax.softmax_cross_entropy(logits, targets).mean())
    assert np.corrcoef(actual, expected)[0, 1] > 0.97
    # One curvature per sample stands for a matrix over the classes, which is not exact.
    assert np.mean(actual) - fitted == pytest.approx(np.mean(expected) - fitted, rel=0.4)


def test_half_of_the_samples_and_padding_give_the_losses_of_the_whole_set():
    rng = np.random.default_rng(1)
    embeddings, logits = rng.normal(size=(20, 3)), rng.normal(size=(20, 4))
    targets = np.eye(4)[rng.integers(0, 4, 20)]
    half = leave_one_out_losses(logits, targets, embeddings, np.ones(20), 0.5)
    twice = (np.concatenate([array, array]) for array in (logits, targets, embeddings))
    np.testing.assert_allclose(leave_one_out_losses(*twice, np.ones(40), 1.0)[:20], half, rtol=1e-4)
    padded = (np.concatenate([array, np.ones((5, array.shape[1]))]) for array in (logits, targets, embeddings))
    mask = np.repeat([1.0, 0.0], [20, 5])
    np.testing.assert_allclose(leave_one_out_losses(*padded, mask, 0.5)[:20], half, rtol=1e-4)


def test_a_run_records_them(tmp_path):
    rules = ("max_gwa", *(f"training.rivals:{rule.__name__}" for rule in RIVALS.values()))
    summary = loop.train(small(epochs=2, **{"stopping.rules": rules}), tmp_path)
    history, _, _ = files(tmp_path)
    assert list(summary["rules"]) == ["max_gwa", *RIVALS]
    for rule in RIVALS.values():
        assert all(record[rule.needs[0]] > 0 for record in history)
