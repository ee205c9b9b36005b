"""What a config will cost, as a user asks: counts against published ones and against those made by hand."""

import os
import re
import subprocess
import sys

import pytest

from repository import ROOT

import networks
from planning.cost import PUBLISHED, measure


def start(*arguments):
    """Without an accelerator and without data, wherever a user may have them."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "TFDS_DATA_DIR": "/nowhere"}
    command = [sys.executable, "scripts/plan.py", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def figures(*arguments):
    result = start(*arguments)
    assert (result.returncode, result.stderr) == (0, "")
    return {name: text.strip() for name, _, text in (line.partition(":") for line in result.stdout.splitlines())}


def number(text):
    return float(re.match(r"[\d,.]+", text)[0].replace(",", ""))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_counts(name):
    size = measure(networks.build({"name": name}, 1000), (224, 224, 3))
    assert (size.parameters, size.multiply_adds) == pytest.approx(PUBLISHED[name], rel=0.03)


@pytest.mark.parametrize(
    ("config", "parameters", "multiply_adds", "steps"),
    [
        ("imagenet_vit.py", 21.97, 4.6, 112_680),
        # 49 − 25 entries less of the filters than in the published 0.78 G, at each place of each channel.
        ("imagenet_convnext.py", 5.18, 0.78 - 24e-9 * 2 * 48 * (56**2 + 28**2 * 2 + 14**2 * 3 * 4 + 7**2 * 8), 112_680),
        ("finetune_vit_b16.py:imagenet", 86.57, 17.6, 25_030),
        ("finetune_vit_b16.py:inat2018", 92.06, 17.6, 25_650),
        ("finetune_vit_b16.py:places365", 86.08, 17.6, 24_661),
    ],
)
def test_configs_of_imagenet_size(config, parameters, multiply_adds, steps):
    plan = figures(f"configs/{config}", "--accelerator=h100", "--utilisation=0.5", "--crops_per_core=100")
    assert number(plan["parameters"]) == parameters
    assert number(plan["multiply-adds per image, forward"]) == pytest.approx(multiply_adds, rel=0.03)
    assert len(re.findall(r"published, [+-][0-2]\.\d %", plan["published form of this network"])) == 2
    assert number(plan["steps"]) == steps
    # XLA counts 2 for a multiply-add and whatever else there is; a backward pass costs about two forward passes.
    forward, training = number(plan["FLOPs per image, forward"]), number(plan["FLOPs per image, training step"])
    assert forward == pytest.approx(2 * number(plan["multiply-adds per image, forward"]), rel=0.05)
    assert training == pytest.approx(3 * forward, rel=0.05)
    images = number(plan["images/s to keep devices busy"])
    kept = float(re.search(r"activations (\d+) MB per image", plan["memory per device, estimated"])[1])
    seconds = {"arithmetic": training / (0.5 * 989e3), "memory traffic": 4 * kept * 1e6 / 3.35e12}
    limit = max(seconds, key=lambda name: seconds[name])
    assert images == pytest.approx(8 / seconds[limit], rel=0.02)
    assert plan["images/s to keep devices busy"].endswith(f"limited by {limit}")
    assert number(plan["cores that decode as many"]) == pytest.approx(images / 100, rel=0.01)


def test_a_field_and_the_number_of_devices_change_the_plan():
    config = ["configs/cifar10_vit.py", "--accelerator=tpu_v4"]
    one = figures(*config, "--devices=1")
    many = figures(*config, "--devices=4", "--config.batch_size=512", "--config.sharding=fsdp")
    assert one["steps"].endswith("256 images, 256 per device")
    assert many["steps"].endswith("512 images, 128 per device")
    assert number(many["images/s to keep devices busy"]) == pytest.approx(
        4 * number(one["images/s to keep devices busy"]), rel=0.01
    )
    assert number(many["memory per device, estimated"]) < number(one["memory per device, estimated"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--accelerator=h1000"], "there is no accelerator 'h1000'; there are a6000, a100, h100, h200, tpu_v4"),
        (["--accelerator=h100", "--devices=3"], "batch_size is 1024; it must be a multiple of the 3 parts"),
        (
            ["--accelerator=tpu_v4", "--compile"],
            "knows a6000, a100, h100, h200, tpu_v5e, tpu_v5p, not tpu_v4",
        ),
        (["--accelerator=h100", "--utilisation=30"], "--utilisation is 30.0; it must be a share"),
        (["--accelerator=h100", "--config.epoch=3"], "the config has no field epoch; did you mean epochs?"),
        (["--accelerator=h100", "--config.dataset.name=mine"], "known of the data set 'mine'; say --classes=N"),
    ],
)
def test_a_mistake_is_one_line(arguments, message):
    result = start("configs/imagenet_vit.py", *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("plan.py: ")
    assert message in line


def test_a_config_that_does_not_exist_is_one_line():
    result = start("configs/none.py", "--accelerator=h100")
    assert (result.returncode, result.stderr) == (2, "plan.py: there is no config configs/none.py\n")
