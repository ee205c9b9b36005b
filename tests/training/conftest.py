"""A small network, its state, and four batches as training and as a test see them."""

from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from datasets.feeds.augment import Augmentation, normalize
from datasets.feeds.batches import Gathered
from datasets.feeds.order import cut_into_blocks
from training.state import create_state
from training.step import Recipe

ROWS = 23  # the last batch of four is not full


class Perceptron(nn.Module):
    @nn.compact
    def __call__(self, images, *, train=False):
        hidden = nn.tanh(nn.Dense(8)(images.reshape(len(images), -1)))
        self.sow("latent_embeddings", "embeddings", hidden)
        return nn.Dense(4, name="head")(hidden)


@pytest.fixture(scope="module")
def setting():
    recipe = Recipe(Perceptron(), optax.sgd(0.1), Augmentation(), num_classes=4)
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    rng = np.random.default_rng(0)
    data = {
        "image": jnp.asarray(rng.integers(0, 256, (ROWS, 4, 4, 1), dtype=np.uint8)),
        "label": jnp.asarray(rng.integers(0, 4, ROWS, dtype=np.int32)),
    }
    ((rows, mask, _),) = cut_into_blocks(rng.permutation(ROWS), 6, 4)
    batches = [rows[i][mask[i] > 0] for i in range(4)]
    return SimpleNamespace(
        recipe=recipe,
        state=create_state(recipe.model, recipe.optimizer, (4, 4, 1), 0, device),
        block=(Gathered(data, rows, mask), jnp.int32(1)),
        rows=[rows[i][mask[i] > 0] for i in range(4)],
        batches=[(normalize(data["image"][batch]), data["label"][batch]) for batch in batches],
    )
