"""Every config is complete: its network has the size its recipe says, and a step of it can be traced."""

import importlib

import jax
import jax.numpy as jnp
import pytest

from repository import ROOT

from planning.cost import DataSet, find_data_set
from training.state import create_state
from training.step import build_recipe, train_step

CONFIGS = ROOT / "configs"


def convnext_parameters(depths, widths, patch_size, kernel_size, stem_bias, channels=3, classes=10):
    """Counted by hand: stem, downsampling and blocks, each layer with its biases and norms."""
    total = patch_size**2 * channels * widths[0] + stem_bias * widths[0] + 2 * widths[0]
    for i, (depth, width) in enumerate(zip(depths, widths, strict=True)):
        if i:
            total += 2 * widths[i - 1] + 4 * widths[i - 1] * width + width
        block = (kernel_size**2 + 1) * width + 2 * width  # depthwise convolution, norm
        block += 4 * width * (width + 1) + 2 * 4 * width + width * (4 * width + 1)  # perceptron around the GRN
        total += depth * block
    return total + 2 * widths[-1] + classes * (widths[-1] + 1)


def vit_parameters(width, depth, mlp_dim, patch_size, channels=3, classes=10):
    """Counted by hand, with fixed positions and mean pooling."""
    block = 4 * width * (width + 1) + (mlp_dim + 1) * width + (width + 1) * mlp_dim + 4 * width
    return width * (channels * patch_size**2 + 1) + depth * block + 2 * width + classes * (width + 1)


PARAMETERS = {
    "digits": convnext_parameters((2, 2), (32, 64), 1, 3, True, channels=1),
    "cifar10_small": convnext_parameters((2, 2, 2), (32, 64, 128), 2, 3, True),
    "cifar10_small:vit": vit_parameters(128, 4, 256, 4),
    "finetune_cifar10_small:pretrain": vit_parameters(96, 4, 192, 4, classes=5),
    "finetune_cifar10_small:finetune": vit_parameters(96, 4, 192, 4, classes=5),
    "find_label_issues": convnext_parameters((2, 2, 2), (32, 64, 128), 4, 3, True),
    "table1_small": convnext_parameters((2, 2), (64, 128), 4, 3, True),
    "fashion_mnist_small": convnext_parameters((2, 2), (32, 64), 4, 3, True, channels=1),
    "fashion_mnist_small:vit": vit_parameters(64, 3, 128, 4, channels=1),
    "cifar10_convnext": convnext_parameters((2, 2, 6, 2), (64, 128, 256, 512), 1, 3, False),
    "cifar10_vit": vit_parameters(512, 6, 512, 4),
    "imagenet_convnext": convnext_parameters((2, 2, 6, 2), (48, 96, 192, 384), 4, 5, False, classes=1000),
    "imagenet_vit": vit_parameters(384, 12, 1536, 16, classes=1000),
    **{
        # Learned positions of 14 × 14 patches and the class token, and that token.
        f"finetune_vit_b16:{data}": vit_parameters(768, 12, 3072, 16, classes=classes) + (14**2 + 2) * 768
        for data, classes in {"imagenet": 1000, "inat2018": 8142, "places365": 365}.items()
    },
}


def test_every_config_is_counted():
    files = {path.stem for path in CONFIGS.glob("*.py")} - {"base"}
    assert {name.partition(":")[0] for name in PARAMETERS} == files


@pytest.mark.parametrize("name", PARAMETERS)
def test_config(name):
    file, _, variant = name.partition(":")
    config = importlib.import_module(f"configs.{file}").get_config(*filter(None, [variant]))
    config.lock()
    unnamed = {"arrays": DataSet(1800, 10, 28, 1), "folder": DataSet(1800, 10, 64)}  # Fashion-MNIST, and anything
    data = unnamed.get(config.dataset.name) or find_data_set(config, None, None)
    recipe = build_recipe(config, data.classes, 100_000)
    shape = (data.side, data.side, data.channels)
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    state = jax.eval_shape(lambda: create_state(recipe.model, recipe.optimizer, shape, 0, device))
    assert sum(leaf.size for leaf in jax.tree.leaves(state.params)) == PARAMETERS[name]
    batch = {
        "image": jax.ShapeDtypeStruct((4, *shape), jnp.uint8),
        "label": jax.ShapeDtypeStruct((4,), jnp.int32),
        "index": jax.ShapeDtypeStruct((4,), jnp.int32),
        "mask": jax.ShapeDtypeStruct((4,), jnp.float32),
    }
    after, metrics = jax.eval_shape(lambda *arguments: train_step(recipe, *arguments), state, batch, jnp.int32(1))
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert metrics["alignment"].shape == (4,)


@pytest.mark.parametrize(
    ("name", "fields", "steps"),
    [
        ("imagenet_vit", {"epochs": 90}, 112_650),
        ("imagenet_vit", {"epochs": 91, "dataset.val_fraction": 0.01}, 112_650),
        ("imagenet_vit", {"epochs": 100, "dataset.val_fraction": 0.1}, 112_650),
        ("imagenet_convnext", {}, 112_650),
        ("finetune_vit_b16:imagenet", {}, 26_000),
        ("finetune_vit_b16:imagenet", {"epochs": 12, "dataset.val_fraction": 0.1}, 26_000),
        ("finetune_vit_b16:inat2018", {}, 26_000),
        ("finetune_vit_b16:inat2018", {"epochs": 34, "dataset.val_fraction": 0.1}, 26_000),
        ("finetune_vit_b16:places365", {}, 26_000),
        ("finetune_vit_b16:places365", {"epochs": 7, "dataset.val_fraction": 0.01}, 26_000),
    ],
)
def test_the_papers_number_of_steps(name, fields, steps):
    """To half an epoch: epochs are whole."""
    file, _, variant = name.partition(":")
    config = importlib.import_module(f"configs.{file}").get_config(*filter(None, [variant]))
    config.update_from_flattened_dict(fields)
    per_epoch = -(-find_data_set(config, None, None).train_examples // config.batch_size)
    assert abs(config.epochs * per_epoch - steps) <= per_epoch / 2
