"""Estimates of a small network at fixed parameters; run as a script, on as many devices as there are, into a file."""

import sys

import flax.linen as nn
import jax
import numpy as np
import optax
from ml_collections import ConfigDict

from datasets.feeds.augment import Augmentation
from parallel import devices
from training.offline import OfflineEstimators
from training.state import TrainState, create_state
from training.step import Recipe

CLASSES, SHAPE, COUNT = 5, (4, 4, 3), 70  # 70 fills neither batches of 16 nor of 64
CONFIG = ConfigDict({"seed": 3, "batch_size": 16, "eval_batch_size": 32})
NAMES = ("offline", "offline_train", "full", "layers=.*kernel")


class Perceptron(nn.Module):
    """Dropout, so that the views of training and evaluation differ."""

    @nn.compact
    def __call__(self, images, *, train=False):
        hidden = nn.tanh(nn.Dense(7, name="hidden")(images.reshape(len(images), -1)))
        hidden = nn.Dropout(0.3)(hidden, deterministic=not train)
        self.sow("latent_embeddings", "embeddings", hidden)
        return nn.Dense(CLASSES, name="head")(hidden)


def images_and_labels():
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (COUNT, *SHAPE), dtype=np.uint8),
        "label": rng.integers(0, CLASSES, COUNT, dtype=np.int32),
    }


def measured(scale=1.0, names=NAMES, **fields):
    """The parameters, the head's multiplied by `scale`, and the alignments and figures at the end of epoch 2."""
    augmentation = Augmentation(pad=1, flip=True, mixup=0.2)
    recipe = Recipe(
        **({"model": Perceptron(), "optimizer": optax.sgd(0.1), "augmentation": augmentation} | fields),
        num_classes=CLASSES,
    )
    mesh = devices.make_mesh()
    everywhere = devices.replicated_sharding(mesh)
    state = create_state(recipe.model, recipe.optimizer, SHAPE, 0, everywhere)
    params = state.params | {"head": jax.tree.map(lambda leaf: scale * leaf, state.params["head"])}
    state = TrainState(params, state.opt_state, jax.device_put(np.int32(2 * 5), everywhere), state.rng)
    data = jax.device_put(images_and_labels(), everywhere)
    estimators = OfflineEstimators(names, recipe, CONFIG, SHAPE, mesh, CONFIG.batch_size)
    return params, *estimators.measure(state, data, epoch=2)


if __name__ == "__main__":
    _, samples, _ = measured()
    np.savez(sys.argv[1], devices=jax.device_count(), **samples)
