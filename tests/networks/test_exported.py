"""An exported network says the same in a process that knows neither the trainer nor the data sets."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from run_scripts import check_refusal, run_script, start_script
from small_runs import small

from repository import ROOT

import networks
from datasets.feeds.augment import normalize
from errors import UserError
from networks.exported import Spec, TrainedNetwork, export, load_exported, lower
from training import loop, optimizer
from training.pretrained import load_pretrained_params
from training.run.restoring import load_params
from training.state import create_state

ELSEWHERE = """
import sys
import numpy as np
import jax
import repository
from networks.exported import load_exported

folder, images, logits = sys.argv[1:]
network = load_exported(folder)
np.save(logits, jax.jit(network.logits)(np.load(images)))
assert not {"training", "datasets", "evaluation", "orbax"} & sys.modules.keys()
print(network.spec.class_names)
"""

# Needs nothing of ours.
SERVING = """
import pathlib, sys
import numpy as np
import jax

program, *files = sys.argv[1:]
program = jax.export.deserialize(bytearray(pathlib.Path(program).read_bytes()))
assert program.platforms == ("cpu", "cuda", "tpu")
for images, logits in zip(files[::2], files[1::2], strict=True):
    np.save(logits, program.call(np.load(images)))
assert not {"networks", "flax"} & sys.modules.keys()
"""


def start(code, *arguments, folder):
    """Runs code in a process of its own, in a folder; of our packages it only finds those in src."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = {"PATH": "", "PYTHONPATH": str(ROOT / "src"), "JAX_PLATFORMS": "cpu"}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def some_images(count, shape=(8, 8, 1)):
    return np.random.default_rng(count).integers(0, 256, (count, *shape), dtype=np.uint8)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run, and its network exported with everything."""
    workdir = tmp_path_factory.mktemp("runs") / "run"
    loop.train(small(epochs=2, **{"optimizer.ema": 0.5, "stopping.rules": ("last",)}), workdir)
    result = start_script("export.py", workdir, "--stablehlo")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"{workdir}/exported: convnextv2, epoch 2, chosen by last\n"
    return workdir


def expected_logits(workdir, images, folder=""):
    """What the trainer's model says with the parameters of the checkpoint."""
    model = networks.build(small().network, 10)
    params = load_params(workdir / "checkpoints" / "last" / "2" / folder)
    return np.asarray(jax.jit(model.apply)({"params": params}, normalize(jax.numpy.asarray(images))))


def test_the_network_says_the_same_elsewhere(run, tmp_path):
    images = some_images(7)
    np.save(tmp_path / "images.npy", images)
    printed = start(ELSEWHERE, run / "exported", "images.npy", "logits.npy", folder=tmp_path)
    assert printed == f"{tuple(map(str, range(10)))}\n"
    logits, expected = np.load(tmp_path / "logits.npy"), expected_logits(run, images)
    assert logits.dtype == np.float32
    assert np.std(expected) > 0.01
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-6)


def test_the_program_takes_batches_of_any_size_and_needs_nothing_of_ours(run, tmp_path):
    files = []
    for count in (1, 6):
        np.save(tmp_path / f"images{count}.npy", some_images(count))
        files += [f"images{count}.npy", f"logits{count}.npy"]
    start(SERVING, run / "exported" / "model.stablehlo", *files, folder=tmp_path)
    for count in (1, 6):
        logits = np.load(tmp_path / f"logits{count}.npy")
        np.testing.assert_allclose(logits, expected_logits(run, some_images(count)), rtol=0, atol=1e-6)


def test_averaged_parameters_and_another_folder(run, tmp_path):
    folder = tmp_path / "new" / "folder"
    result = run_script("export.py", run, "--ema", f"--output={folder}")
    assert result.returncode == 0
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    network, images = load_exported(folder), some_images(3)
    assert network.spec == Spec(
        network={
            "name": "convnextv2",
            "compute_dtype": "float32",
            "patch_size": 2,
            "kernel_size": 3,
            "depths": [1],
            "widths": [16],
        },
        class_names=tuple("0123456789"),
        image_shape=(8, 8, 1),
        resize=None,
        normalization={"divide_by": 127.5, "add": -1.0},
        run="run",
        rule="last",
        epoch=2,
        averaged=True,
    )
    np.testing.assert_allclose(network.logits(images), expected_logits(run, images, "ema"), rtol=0, atol=1e-6)
    assert np.abs(network.logits(images) - expected_logits(run, images)).max() > 1e-3


@pytest.mark.parametrize("file", ["", "model.safetensors"])
def test_an_exported_network_is_a_start_for_fine_tuning(run, file):
    """With a new head for other classes, or with its own."""
    config = small(pretrained=str(run / "exported" / file))
    kept = load_params(run / "checkpoints" / "last" / "2")
    for num_classes, keeps_head in ((4, False), (10, True)):
        config.pretrained_head = keeps_head
        model = networks.build(config.network, num_classes)
        chain = optimizer.build_optimizer(config.optimizer, 10)
        device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        state = create_state(model, chain, (8, 8, 1), 1, device)
        params = load_pretrained_params(state, config, model).params
        head, expected = params["head"], kept["head"] if keeps_head else state.params["head"]
        jax.tree.map(np.testing.assert_array_equal, head, expected)
        rest = {name: value for name, value in params.items() if name != "head"}
        jax.tree.map(np.testing.assert_array_equal, rest, {name: kept[name] for name in rest})


@pytest.mark.slow
def test_fine_tuning_from_an_exported_network_as_a_user_does(run, tmp_path):
    options = ["--config.epochs=1", "--config.network.depths=(1,)", "--config.network.widths=(16,)"]
    options += ["--config.network.patch_size=2", f"--config.pretrained={run}/exported", "--config.pretrained_head"]
    options += ["--config.optimizer.learning_rate=1e-30"]
    command = [sys.executable, "src/train.py", "--config=configs/digits.py", *options, f"--workdir={tmp_path}/tuned"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    tuned, first = (json.loads((path / "summary.json").read_text()) for path in (tmp_path / "tuned", run))
    assert tuned["last"]["test_accuracy"] == first["last"]["test_accuracy"]


# Networks from outside: `{size}` is how they find out the size of the batch.
MODULE = """
import flax.linen as nn

class Net(nn.Module):
    num_classes: int
    width: int = 3

    @nn.compact
    def __call__(self, images, *, train=False):
        x = nn.Dense(self.width, name="hidden")(images.reshape({size}, -1))
        self.sow("latent_embeddings", "embeddings", x)
        return nn.Dense(self.num_classes, name="head")(x)
"""


def external(name, **options):
    spec_network = {"name": name, "options": options}
    model = networks.build(spec_network, 2)
    images = np.zeros((1, 4, 4, 3), np.float32)
    params = model.init(jax.random.key(0), images)["params"]
    spec = Spec(spec_network, ("a", "b"), (4, 4, 3), 6, {"divide_by": 127.5, "add": -1.0}, "run", "last", 1, False)
    return TrainedNetwork(model, params, spec)


def test_a_network_from_outside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_network.py").write_text(MODULE.format(size="images.shape[0]"))
    (tmp_path / "my_fixed_network.py").write_text(MODULE.format(size="int(images.shape[0])"))
    network, images = external("my_network:Net", width=5), some_images(2, (4, 4, 3))
    export(network, tmp_path / "exported", program=True)
    np.save(tmp_path / "images.npy", images)
    start(ELSEWHERE, "exported", "images.npy", "elsewhere.npy", folder=tmp_path)
    start(SERVING, "exported/model.stablehlo", "images.npy", "served.npy", folder=tmp_path)
    for name in ("elsewhere", "served"):
        np.testing.assert_allclose(np.load(tmp_path / f"{name}.npy"), network.logits(images), rtol=0, atol=1e-6)
    with pytest.raises(UserError, match=r"Net cannot be exported .*: .*my_fixed_network\.py, line 10\)$") as error:
        export(external("my_fixed_network:Net"), tmp_path / "fixed", program=True)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "fixed").exists()


SMALL = {
    "convnextv2": {"patch_size": 4, "kernel_size": 3, "depths": (1, 1), "widths": (8, 12)},
    "vit": {"patch_size": 4, "depth": 1, "width": 12, "mlp_dim": 20, "num_heads": 2},
}


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("convnextv2", {}),
        ("vit", {"pooling": "token", "compute_dtype": "bfloat16"}),
        ("vit", {"pooling": "attention", "position": "sincos2d"}),
    ],
)
def test_every_family_becomes_a_program(name, fields):
    """With whatever a network does once for each image of a batch, such as repeating a class token."""
    fields = {"name": name, **SMALL[name], **fields}
    model = networks.build(fields, 3)
    params = jax.jit(model.init)(jax.random.key(0), np.zeros((1, 16, 16, 3), np.float32))["params"]
    spec = Spec(fields, ("a", "b", "c"), (16, 16, 3), 20, {"divide_by": 127.5, "add": -1.0}, "run", "last", 1, False)
    network = TrainedNetwork(model, params, spec)
    program = jax.export.deserialize(bytearray(lower(network)))
    images = some_images(3, (16, 16, 3))
    expected = jax.jit(network.logits)(images)
    assert np.std(expected) > 1e-3
    np.testing.assert_allclose(program.call(images), expected, rtol=0, atol=1e-6)


def test_mistakes_are_one_line(run, tmp_path):
    check_refusal(run_script("export.py", run), f"--output: {run}/exported is not empty")
    check_refusal(run_script("export.py", tmp_path), "holds no finished run")
    check_refusal(run_script("export.py", run, "--rule=max_gwa"), "--rule is 'max_gwa'; the rules", "are last")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), r"there is no file .*config\.json; scripts/export\.py"),
        (lambda folder: (folder / "config.json").write_text("{"), r"config\.json is not JSON"),
        (lambda folder: (folder / "config.json").write_text('{"network": {}}'), r"it lacks 'class_names'"),
        (lambda folder: (folder / "config.json").write_text("[]"), r"config\.json does not describe"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"there is no file .*model\.safetensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x"), r"cannot read .*model\.safetensors"),
    ],
)
def test_a_damaged_folder_is_refused(run, tmp_path, change, message):
    network = load_exported(run / "exported")
    export(network, tmp_path / "copy")
    load_exported(tmp_path / "copy")
    change(tmp_path / "copy")
    with pytest.raises(UserError, match=message) as error:
        load_exported(tmp_path / "copy")
    assert "\n" not in str(error.value)


def test_parameters_of_another_network_are_refused(run, tmp_path):
    network = load_exported(run / "exported")
    wider = network.spec.network | {"widths": [24]}
    export(network._replace(spec=Spec(**vars(network.spec) | {"network": wider})), tmp_path / "copy")
    with pytest.raises(UserError, match=r"does not fit the network; of another shape: head/kernel is \(16, 10\)"):
        load_exported(tmp_path / "copy")
