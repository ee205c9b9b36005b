"""Networks from outside and further families: what the trainer needs of them, and every mistake in one line."""

import sys
import types
from collections.abc import Callable

import flax.linen as nn
import pytest

import networks
from errors import UserError


class Net(nn.Module):
    """As small as can be."""

    num_classes: int
    width: int = 3
    sizes: tuple = ()

    @nn.compact
    def __call__(self, images, *, train=False):
        x = nn.Dense(self.width)(images.reshape(len(images), -1))
        self.sow("latent_embeddings", "embeddings", x)
        return nn.Dense(self.num_classes, name="head", use_bias=False)(x)


@pytest.fixture
def outside(monkeypatch):
    """A module `outside`, as if it lay on Python's path."""
    module = types.ModuleType("outside")
    module.__file__ = "outside.py"
    monkeypatch.setitem(sys.modules, "outside", module)
    return module


def test_a_network_from_outside_gets_its_fields_from_the_options(outside):
    outside.Net = Net
    network = networks.build({"name": "outside:Net", "compute_dtype": "float32", "options": {"sizes": [[1], 2]}}, 5)
    assert (network.num_classes, network.width, network.sizes) == (5, 3, ((1,), 2))
    hash(network)
    networks.check_contract(network, (4, 4, 1), 5)


class NoClasses(nn.Module):
    width: int = 3


class Needy(nn.Module):
    num_classes: int
    depth: int


class Checked(Net):
    def check(self):
        raise UserError(f"network.options.width is {self.width}; it must be even")


@pytest.mark.parametrize(
    ("network", "fields", "message"),
    [
        (Net, {"options": {"widht": 3}}, r"network\.options\.widht is set, but outside:Net .* it has width, sizes"),
        (Net, {"kernel_size": 3}, r"network\.kernel_size is set, but outside:Net has no such field"),
        (Net, {"compute_dtype": "bfloat16"}, r"network\.compute_dtype is set, but outside:Net"),
        (NoClasses, {}, r"'outside:Net', which has no field num_classes"),
        (Needy, {}, r"'outside:Net', which needs network\.options\.depth as well"),
        (Checked, {}, r"network\.options\.width is 3"),
        (dict, {}, r"'outside:Net', which is the class dict; it must be a subclass of flax"),
    ],
)
def test_what_cannot_be_built_is_refused(outside, network, fields, message):
    outside.Net = network
    with pytest.raises(UserError, match=message):
        networks.build({"name": "outside:Net", **fields}, 5)


def test_a_further_family_is_one_more_entry(monkeypatch):
    monkeypatch.setitem(networks._NETWORKS, "tiny", (Net, {"width": 7}))
    assert networks.build({"name": "tiny"}, 5).width == 7
    assert networks.build({"name": "tiny", "options": {"width": 9}}, 5).width == 9
    with pytest.raises(UserError, match=r"network\.depths is set, but tiny has no such field"):
        networks.build({"name": "tiny", "depths": (1, 1)}, 5)


class Written(nn.Module):
    """A network whose forward pass is a function of the module, flat images and `train`."""

    num_classes: int
    forward: Callable

    @nn.compact
    def __call__(self, images, *, train=False):
        return self.forward(self, images.reshape(len(images), -1), train)


class NoTrain(Net):
    def __call__(self, images):
        return images


def sow(self, x):
    self.sow("latent_embeddings", "embeddings", x)
    return x


def head(x, classes=5, name="head"):
    return nn.Dense(classes, name=name)(x)


def refuse(self, x, train):
    raise UserError("these images are too small")


BROKEN = {
    "nothing sown": (lambda self, x, train: head(x), r"Written sows 0 latent_embeddings"),
    "sown twice": (lambda self, x, train: head(sow(self, sow(self, x))), r"sows 2 latent_embeddings"),
    "sown in evaluation only": (lambda self, x, train: head(x if train else sow(self, x)), r"sows 0 latent_embeddings"),
    "others sown": (lambda self, x, train: (sow(self, x[:, 1:]), head(x))[1], r"embeddings \[1, 15\] .*is \[16, 5\]"),
    "another axis": (lambda self, x, train: (sow(self, x[:, None]), head(x))[1], r"embeddings \[1, 1, 16\] of one"),
    "no head": (lambda self, x, train: head(sow(self, x), name="last"), r"Written has no parameter head/kernel"),
    "no parameters": (lambda self, x, train: sow(self, x)[:, :5], r"Written has no parameter head/kernel"),
    "other logits": (lambda self, x, train: head(sow(self, x)).sum(-1), r"gives \[1\] for one image; .* \[1, 5\]"),
    "other classes": (lambda self, x, train: head(sow(self, x), 4), r"gives \[1, 4\] for one image; .* \[1, 5\]"),
    "no array": (lambda self, x, train: (head(sow(self, x)),), r"gives a tuple for one image"),
    "statistics": (lambda self, x, train: head(sow(self, nn.BatchNorm(not train)(x))), r"variables in batch_stats"),
    "a rng in evaluation": (lambda self, x, train: head(sow(self, nn.Dropout(0.5)(x, train))), r"4×4×1: .*dropout"),
    "an error": (lambda self, x, train: head(sow(self, x @ x)), r"4×4×1: TypeError: .*test_contract\.py, line \d+\)"),
    "a refusal": (refuse, r"^these images are too small"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_promise_is_one_line(case):
    forward, message = BROKEN[case]
    with pytest.raises(UserError, match=message) as error:
        networks.check_contract(Written(5, forward), (4, 4, 1), 5)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "forward",
    [
        lambda self, x, train: head(nn.relu(sow(self, x))),
        lambda self, x, train: nn.softmax(head(sow(self, x))),
        lambda self, x, train: head(sow(self, x)) / 0.1,
    ],
    ids=["others than the head sees", "softmax", "temperature"],
)
def test_logits_that_are_not_those_of_the_head_are_refused(forward):
    network = Written(5, forward)
    networks.check_contract(network, (4, 4, 1), 5)  # by their shapes they might be
    with pytest.raises(UserError, match="Written gives logits that are not its latent_embeddings times head/kernel"):
        networks.check_head(network, (4, 4, 1))


def test_logits_of_the_head_are_accepted():
    networks.check_head(Net(5), (4, 4, 1))
    networks.check_head(Written(5, lambda self, x, train: head(sow(self, x))), (4, 4, 1))


def test_a_network_that_cannot_tell_training_is_refused():
    with pytest.raises(UserError, match=r"NoTrain fails on an image of 4×4×1: TypeError: .*train"):
        networks.check_contract(NoTrain(5), (4, 4, 1), 5)


@pytest.mark.parametrize("name", ["vit_ti16", "convnextv2_atto"])
def test_our_networks_keep_every_promise(name):
    fields = {"patch_size": 4, "dropout": 0.1, "depth": 1} if name == "vit_ti16" else {"depths": (1,), "widths": (4,)}
    networks.check_contract(networks.build({"name": name, "stochastic_depth": 0.1, **fields}, 5), (8, 8, 3), 5)
