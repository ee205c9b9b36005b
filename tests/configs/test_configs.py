"""Every config is complete: its network has the size its recipe says, and a step of it can be traced."""

import importlib
import re

import jax
import jax.numpy as jnp
import pytest

from repository import ROOT

import fields
import networks
from configs import base
from datasets.feeds.randaugment import build_operations
from planning.cost import DataSet, count_steps, find_data_set
from training.idle import find_idle
from training.optimizer import build_schedule
from training.state import state_shapes
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
    **{
        f"regimes:{variant}": convnext_parameters((2, 2), (32, 64), 4, 3, True, classes=classes)
        for variant, classes in {"convnext": 10, "convnext_pretrain": 5, "convnext_finetune": 5}.items()
    },
    **{
        f"regimes:{variant}": vit_parameters(64, 3, 128, 4, classes=classes)
        for variant, classes in {"vit": 10, "vit_pretrain": 5, "vit_finetune": 5}.items()
    },
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


def get_config(name):
    file, _, variant = name.partition(":")
    return importlib.import_module(f"configs.{file}").get_config(*filter(None, [variant]))


def test_every_config_is_counted():
    files = {path.stem for path in CONFIGS.glob("*.py")} - {"base"}
    assert {name.partition(":")[0] for name in PARAMETERS} == files


@pytest.mark.parametrize("name", PARAMETERS)
def test_config(name):
    config = get_config(name)
    config.lock()
    fields.check(config, base.FIELDS)
    unnamed = {"arrays": DataSet(1800, 10, 28, 1), "folder": DataSet(1800, 10, 64)}  # Fashion-MNIST, and anything
    data = unnamed.get(config.dataset.name) or find_data_set(config, None, None)
    recipe = build_recipe(config, data.classes, count_steps(config, data))
    shape = (data.side, data.side, data.channels)
    assert find_idle(config, shape, -(-data.train_examples // config.batch_size), num_devices=8) == []
    state = state_shapes(recipe.model, recipe.optimizer, shape)
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
    ("name", "steps", "epochs"),
    [  # the epochs with all data, and with 10 and 1 % of them held out
        ("cifar10_convnext", 9_000, (92, 103, 93)),
        ("cifar10_vit", 35_000, (179, 200, 181)),
        ("imagenet_convnext", 112_650, (90, 100, 90)),
        ("imagenet_vit", 112_650, (90, 100, 90)),
        ("finetune_vit_b16:imagenet", 26_000, (10, 11, 10)),
        ("finetune_vit_b16:inat2018", 26_000, (30, 33, 30)),
        ("finetune_vit_b16:places365", 26_000, (7, 8, 7)),
    ],
)
def test_the_papers_steps_and_schedule(name, steps, epochs):
    """Its repository trains for as many epochs of N // B steps as its steps hold; its cosine ends one step later."""
    config = get_config(name)
    assert config.optimizer.cosine_steps == steps + 1
    assert config.epochs == epochs[0]
    described = importlib.import_module(f"configs.{name.partition(':')[0]}").__doc__
    for held_out, count in zip((0.0, 0.1, 0.01), epochs, strict=True):
        config.update_from_flattened_dict({"epochs": count, "dataset.val_fraction": held_out})
        examples = find_data_set(config, None, None).train_examples
        assert count == steps // (examples // config.batch_size)
        build_schedule(config.optimizer, count * -(-examples // config.batch_size))  # whose cosine is long enough
    if name != "imagenet_convnext":  # which refers to the other
        assert all(re.search(rf"\b{count}\b", described) for count in epochs[1:])


@pytest.mark.parametrize("name", [name for name in PARAMETERS if name.startswith(("cifar10_vit", "imagenet_vit"))])
def test_the_papers_patches_are_lecuns(name):
    network = networks.build(get_config(name).network, 10)
    side = 4 * network.patch_size
    kernel = network.init(jax.random.key(0), jnp.zeros((1, side, side, 3)))["params"]["patch"]["kernel"]
    assert float(kernel.std()) == pytest.approx((3 * network.patch_size**2) ** -0.5, rel=0.02)


@pytest.mark.parametrize("name", ["imagenet_vit", "imagenet_convnext"])
def test_the_papers_solarize_inverts_everything_on_imagenet(name):
    augment = get_config(name).augment
    solarize = build_operations(augment.randaugment_magnitude, augment.solarize_wraps)["solarize"]
    values = jnp.arange(256, dtype=jnp.uint8).reshape(16, 16, 1)
    assert (solarize(values, jax.random.key(0)) == 255 - values).all()
