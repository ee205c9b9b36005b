"""What a config will cost: counts against published ones and against those made by hand."""

import re

import pytest
from run_scripts import check_refusal, run_script, start_script

import networks
from planning.cost import PUBLISHED, count_steps, find_data_set, measure_network
from sweeps.definition import Run, configure


def read_figures(result):
    assert (result.returncode, result.stderr) == (0, "")
    return {name: text.strip() for name, _, text in (line.partition(":") for line in result.stdout.splitlines())}


def number(text):
    return float(re.match(r"[\d,.]+", text)[0].replace(",", ""))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_counts(name):
    size = measure_network(networks.build({"name": name}, 1000), (224, 224, 3))
    assert (size.parameters, size.multiply_adds) == pytest.approx(PUBLISHED[name], rel=0.03)


@pytest.mark.parametrize(
    ("config", "parameters", "multiply_adds", "steps"),
    [
        ("imagenet_vit.py", 21.97, 4.6, 112_680),
        # 49 − 25 entries less of the filters than in the published 0.78 G, at each place of each channel.
        ("imagenet_convnext.py", 5.18, 0.78 - 24e-9 * 2 * 48 * (56**2 + 28**2 * 2 + 14**2 * 3 * 4 + 7**2 * 8), 112_680),
        ("finetune_vit_b16.py:imagenet", 86.57, 17.6, 25_030),
    ],
)
def test_configs_of_imagenet_size(config, parameters, multiply_adds, steps):
    options = "--accelerator=h100", "--utilisation=0.5", "--crops_per_core=100"
    plan = read_figures(run_script("plan.py", f"configs/{config}", *options))
    assert number(plan["parameters"]) == parameters
    assert number(plan["multiply-adds per image, forward"]) == pytest.approx(multiply_adds, rel=0.03)
    assert len(re.findall(r"published, [+-][0-2]\.\d %", plan["published form of this network"])) == 2
    assert number(plan["steps"]) == steps
    # XLA counts 2 for a multiply-add and whatever else there is; a backward pass costs about two forward passes.
    forward, training = number(plan["FLOPs per image, forward"]), number(plan["FLOPs per image, training step"])
    assert forward == pytest.approx(2 * number(plan["multiply-adds per image, forward"]), rel=0.05)
    assert training == pytest.approx(3 * forward, rel=0.06)
    images = number(plan["images/s to keep devices busy"])
    kept = float(re.search(r"activations (\d+) MB per image", plan["memory per device, estimated"])[1])
    seconds = {"arithmetic": training / (0.5 * 495e3), "memory traffic": 6 * kept * 1e6 / (0.55 * 3.35e12)}
    limit = max(seconds, key=lambda name: seconds[name])
    assert images == pytest.approx(8 / seconds[limit], rel=0.02)
    assert plan["images/s to keep devices busy"].endswith(f"limited by {limit}")
    assert number(plan["cores that decode as many"]) == pytest.approx(images / 100, rel=0.01)


@pytest.mark.parametrize(
    ("variant", "parameters", "steps"), [("inat2018", 92.06, 25_650), ("places365", 86.08, 24_661)]
)
def test_fine_tuning_on_other_sets(variant, parameters, steps):
    """Where only the head and the number of steps differ."""
    config = configure(Run(f"configs/finetune_vit_b16.py:{variant}", {"data": variant}))
    data = find_data_set(config, None, None)
    assert count_steps(config, data) == steps
    size = measure_network(networks.build(config.network, data.classes), data.image_shape)
    assert size.parameters / 1e6 == pytest.approx(parameters, abs=0.005)
    assert size.multiply_adds == pytest.approx(17.6e9, rel=0.03)


def test_a_field_and_the_number_of_devices_change_the_plan():
    config = ["configs/cifar10_vit.py", "--config.network.depth=2", "--accelerator=tpu_v4"]
    # As a user starts it, without an accelerator and without data, wherever a user may have them.
    environment = {"JAX_PLATFORMS": "cpu", "TFDS_DATA_DIR": "/nowhere"}
    one = read_figures(start_script("plan.py", *config, "--devices=1", environment=environment))
    changed = "--devices=4", "--config.batch_size=512", "--config.sharding=fsdp"
    many = read_figures(run_script("plan.py", *config, *changed))
    assert one["steps"].endswith("256 images, 256 per device")
    assert many["steps"].endswith("512 images, 128 per device")
    images, of_many = (number(plan["images/s to keep devices busy"]) for plan in (one, many))
    assert of_many == pytest.approx(4 * images, rel=0.01)
    assert number(many["memory per device, estimated"]) < number(one["memory per device, estimated"])


def test_averaged_parameters_take_memory():
    config = ["configs/cifar10_vit.py", "--accelerator=h100", "--devices=1"]
    without, with_ema = (
        float(
            re.search(r"optimiser ([\d.]+)", run_script("plan.py", *config, f"--config.optimizer.ema={ema}").stdout)[1]
        )
        for ema in (0.0, 1.0)
    )
    assert with_ema == pytest.approx(1.5 * without, abs=0.011)  # beside Adam's two


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--accelerator=h1000"], "'h1000'; there are a6000, a100, h100, h200, tpu_v4"),
        (["--accelerator=h100", "--devices=3"], "batch_size is 1024; it must be a multiple of the 3 parts"),
        (["--accelerator=h100", "--utilisation=30"], "--utilisation is 30.0"),
        (["--accelerator=h100", "--crops_per_core=0"], "--crops_per_core is 0.0"),
        (["--accelerator=h100", "--config.epoch=3"], "no field epoch; did you mean epochs?"),
        (["--accelerator=h100", "--config.dataset.name=mine"], "'mine' is not known; give --classes=N"),
        (["--accelerator=h100", "--device=3"], "--device=3"),
        ([], "--accelerator"),
    ],
)
def test_a_mistake_is_one_line(arguments, says):
    check_refusal(run_script("plan.py", "configs/imagenet_vit.py", *arguments), "plan.py: ", says)


def test_what_cannot_be_compiled_is_one_line():
    result = run_script("plan.py", "configs/digits.py", "--accelerator=tpu_v4", "--compile")
    check_refusal(result, "--compile knows a6000, a100, h100, h200, tpu_v5e, tpu_v5p, not tpu_v4")


def test_a_config_that_does_not_exist_is_one_line():
    check_refusal(run_script("plan.py", "configs/none.py", "--accelerator=h100"), "plan.py: ", "configs/none.py")
