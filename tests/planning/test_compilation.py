"""What a pod runs: the training program compiled for a slice of TPUs, which is not there."""

import re

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from configs import imagenet_vit
from errors import UserError
from planning.compilation import compile_train_block, name_slice
from planning.cost import DataSet
from training.step import build_recipe

DATA = DataSet(train_examples=1000, classes=40, side=64)


def program(**overrides):
    """The recipe of ImageNet, with RandAugment and mixup, for a small network and images: 64 of them on 8 chips."""
    config = imagenet_vit.get_config()
    config.network.update({"name": "vit", "patch_size": 16, "width": 256, "depth": 1, "mlp_dim": 512, "num_heads": 4})
    config.batch_size = 64
    config.update_from_flattened_dict(overrides)
    return compile_train_block(config, build_recipe(config, DATA.classes, 20_000), DATA.image_shape, "tpu_v5e", 8)


@pytest.fixture
def no_cache():
    """A program for devices that are not here can be written into JAX's compilation cache, but not read from it."""
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()
    yield
    jax.config.update("jax_enable_compilation_cache", True)
    compilation_cache.reset_cache()


def shapes(text, collective):
    """The shapes that a kind of exchange between devices results in; `-start` and `-done` are one exchange."""
    found = re.findall(rf"= \(?\w+\[([\d,]*)\][^=]*? {collective}(?:-start)?\(", text)
    return {tuple(int(side) for side in shape.split(",") if side) for shape in found}


@pytest.mark.tpu
@pytest.mark.usefixtures("no_cache")
def test_data_parallel_devices_exchange_gradients_and_the_image_that_mixup_needs():
    text = program().text
    assert "u8[8,64,64,3]" in text  # the images of one device, augmented there
    assert not re.search(r"\[64,64,64,3\]", text)  # and nobody has them all
    assert shapes(text, "all-gather") == set()
    assert all(shape[0] == 1 for shape in shapes(text, "collective-permute"))
    assert "all-reduce" in text


@pytest.mark.tpu
@pytest.mark.usefixtures("no_cache")
def test_fully_sharded_devices_hold_an_eighth_of_the_state():
    whole, cut = program(), program(sharding="fsdp")
    assert re.search(r"ENTRY .*f32\[256,512\]", whole.text)  # a kernel of the block
    assert not re.search(r"ENTRY .*f32\[256,512\]", cut.text)
    assert re.search(r"ENTRY .*f32\[256,64\]", cut.text)
    assert any(shape in ((256, 512), (512, 256)) for shape in shapes(cut.text, "all-gather"))
    assert not re.search(r"\[64,64,64,3\]", cut.text)


@pytest.mark.parametrize(
    ("accelerator", "count", "name"),
    [("tpu_v5e", 4, "v5e:2x2"), ("tpu_v5e", 8, "v5e:2x4"), ("tpu_v5p", 8, "v5p:2x2x2"), ("tpu_v5p", 32, "v5p:2x4x4")],
)
def test_slices_are_nearly_square(accelerator, count, name):
    assert name_slice(accelerator, count) == name


@pytest.mark.parametrize("count", [1, 2, 6, 12])
def test_slices_that_are_not_made_are_refused(count):
    with pytest.raises(UserError, match=rf"--devices is {count}; slices of tpu_v5e have 4, 8, 16"):
        name_slice("tpu_v5e", count)
