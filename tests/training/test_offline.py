"""Estimates at fixed parameters: against gradients by hand in float64, the steps of training, and other devices."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import perceptron
import pytest
import scipy.special
from perceptron import CLASSES, COUNT, images_and_labels, measured

import datasets
import networks
from configs import digits
from datasets.feeds.augment import normalize
from errors import UserError
from gwa import head_alignment
from training import estimators, loop
from training.run.restoring import load_params

ROOT = pathlib.Path(__file__).parents[2]


def gradients_by_hand(params, smoothing=0.0):
    """Of each sample's cross-entropy, with respect to every array of the perceptron, in float64; and its alignment."""
    data = images_and_labels()
    inputs = data["image"].reshape(COUNT, -1) / 127.5 - 1
    kernels = {name: np.asarray(params[name]["kernel"], np.float64) for name in ("hidden", "head")}
    biases = {name: np.asarray(params[name]["bias"], np.float64) for name in ("hidden", "head")}
    hidden = np.tanh(inputs @ kernels["hidden"] + biases["hidden"])
    targets = (1 - smoothing) * np.eye(CLASSES)[data["label"]] + smoothing / CLASSES
    residual = scipy.special.softmax(hidden @ kernels["head"] + biases["head"], axis=1) - targets
    before = (residual @ kernels["head"].T) * (1 - hidden**2)
    return {
        "hidden/kernel": (inputs[:, :, None] * before[:, None, :], kernels["hidden"]),
        "hidden/bias": (before, biases["hidden"]),
        "head/kernel": (hidden[:, :, None] * residual[:, None, :], kernels["head"]),
        "head/bias": (residual, biases["head"]),
    }


def cosine(gradient, weights):
    gradient = gradient.reshape(COUNT, -1)
    return -gradient @ weights.ravel() / (np.linalg.norm(gradient, axis=1) * np.linalg.norm(weights))


# With a head ten times as large the margins reach 20: softmax − one-hot in float32 would say nothing any more.
@pytest.mark.parametrize(("scale", "smoothing"), [(1.0, 0.0), (10.0, 0.0), (1.0, 0.1)])
def test_gradients_of_all_parameters_and_of_layers(scale, smoothing):
    params, samples, estimates = measured(scale, ("full", "layers=.*kernel"), label_smoothing=smoothing)
    gradients = gradients_by_hand(params, smoothing)
    everything = [
        np.concatenate([array.reshape(*shape, -1) for array in arrays], axis=-1)
        for shape, arrays in zip(((COUNT,), ()), zip(*gradients.values(), strict=True), strict=True)
    ]
    np.testing.assert_allclose(samples["full"], cosine(*everything), atol=2e-6)
    assert set(samples) == {"full", "layers/hidden/kernel", "layers/head/kernel"} == set(estimates)
    for path in ("hidden/kernel", "head/kernel"):
        np.testing.assert_allclose(samples[f"layers/{path}"], cosine(*gradients[path]), atol=2e-6)
    assert estimates["full"]["alignment_mean"] == pytest.approx(samples["full"].astype(float).mean(), rel=1e-5)
    assert estimates["full"]["full_seconds"] > 0
    assert estimates["layers/head/kernel"]["layers_seconds"] == estimates["layers/hidden/kernel"]["layers_seconds"] > 0


def test_the_heads_layer_is_its_alignment():
    _, samples, _ = measured(10.0, ("offline", "layers=head/kernel"))
    np.testing.assert_allclose(samples["layers/head/kernel"], samples["offline"], atol=1e-5)


def test_arrays_of_zeros_have_alignment_0():
    _, samples, estimates = measured(names=("layers=head/bias",))  # where training begins
    assert not samples["layers/head/bias"].any()
    assert np.isnan(estimates["layers/head/bias"]["gwa"])


@pytest.mark.slow
def test_one_device_and_four_give_the_same(tmp_path):
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    environment["PYTHONPATH"] = "src"
    command = [sys.executable, perceptron.__file__, str(tmp_path / "four.npz")]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    four = dict(np.load(tmp_path / "four.npz"))
    assert four.pop("devices") == 4
    _, one, _ = measured()
    assert set(one) == set(four)
    for name, scores in one.items():
        np.testing.assert_allclose(four[name], scores, atol=1e-5, err_msg=name)


def small(**overrides):
    config = digits.get_config()
    config.epochs = 2
    config.dataset.train_examples = 150
    config.network.depths, config.network.widths, config.network.patch_size = (1,), (8,), 2
    config.stopping.rules = ("last",)
    config.update_from_flattened_dict(overrides)
    return config


def test_offline_is_the_score_of_the_epochs_checkpoint(tmp_path):
    config = small(**{"estimators": ("offline", "layers=head/kernel"), "augment.flip": True})
    loop.train(config, tmp_path / "run")
    scores = np.load(tmp_path / "run" / "scores.offline.npy")
    assert scores.shape == (2, 150)
    params = load_params(tmp_path / "run" / "checkpoints" / "last" / "2")
    train = datasets.build(config.dataset).train

    @jax.jit
    def by_hand(params):
        model = networks.build(config.network, 10)
        logits, sown = model.apply({"params": params}, normalize(train.images), mutable=["latent_embeddings"])
        (embeddings,) = jax.tree.leaves(sown)
        return head_alignment(logits, train.labels, embeddings, params["head"]["kernel"], params["head"]["bias"])

    np.testing.assert_allclose(scores[1], by_hand(params), atol=1e-6)
    np.testing.assert_allclose(np.load(tmp_path / "run" / "scores.layers.head.kernel.npy"), scores, atol=1e-5)
    record = json.loads((tmp_path / "run" / "history.jsonl").read_text().splitlines()[1])
    assert set(record["estimates"]) == {"offline", "layers/head/kernel"}
    assert record["estimates"]["offline"]["alignment_mean"] == pytest.approx(scores[1].astype(float).mean(), rel=1e-5)


def test_offline_in_the_view_of_training_is_online_where_parameters_stand_still(tmp_path):
    """All that is random in training takes part, and so do the parts of a batch, each with dropout of its own."""
    augment = {"augment.pad": 1, "augment.flip": True, "augment.mixup": 0.2, "network.stochastic_depth": 0.3}
    still = {"optimizer.learning_rate": 1e-12, "optimizer.accumulation_steps": 2}
    loop.train(small(estimators=("offline", "offline_train"), **augment, **still), tmp_path / "run")
    online, plain, train = (
        np.load(tmp_path / "run" / f"scores{name}.npy") for name in ("", ".offline", ".offline_train")
    )
    np.testing.assert_allclose(train, online, atol=1e-5)
    assert np.abs(plain - online).max() > 0.01


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ofline", "there is no estimator 'ofline'; there are textbook, offline, "),
        ("layers", "there is no estimator 'layers'"),
        ("layers=[", "is no regular expression"),
        ("layers=", "no parameter's path matches ''"),
        ("layers=kernel", "no parameter's path matches 'kernel'; the paths are such as"),
    ],
)
def test_impossible_estimators_are_refused_before_training(tmp_path, name, message):
    with pytest.raises(UserError, match="estimators: ") as error:
        loop.train(small(estimators=("offline", name)), tmp_path / "run")
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_names_are_those_that_are_explained():
    assert all(f"\n{name} " in estimators.__doc__ for name in estimators.NAMES)
