"""Every Python block of the README and the docs runs, after the blocks above it on its page."""

import pathlib
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from pages import PAGES, python_blocks

from repository import ROOT

import datasets
from configs import base, digits
from evaluation.trained import load_trained
from gwa import MaxGWA, Moments
from networks.exported import export
from training import loop

# Pages whose blocks other tests run, with more to say about them.
RUN_ELSEWHERE = {
    "docs/jax.md": "test_programs.py",
    "docs/extending.md": "test_extending.py",
    "docs/index.md": "test_site.py",
}


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    """A run as `configs/digits.py` makes it, but small."""
    workdir = tmp_path_factory.mktemp("runs") / "digits"
    config = digits.get_config()
    config.epochs, config.dataset.train_examples = 2, 200
    config.network.depths, config.network.widths, config.network.patch_size = (1,), (16,), 2
    loop.train(config, workdir)
    return workdir


def linear_classifier():
    """What a JAX loop has at hand: a linear head on six features, and the state before the first step."""
    rng = np.random.default_rng(0)
    return {
        "jax": jax,
        "apply": lambda params, images: (images @ params["head"]["kernel"] + params["head"]["bias"][None], images),
        "cross_entropy": optax.softmax_cross_entropy_with_integer_labels,
        "params": {"head": {"kernel": jnp.asarray(rng.standard_normal((6, 4))), "bias": jnp.zeros(4)}},
        "images": jnp.asarray(rng.standard_normal((16, 6))),
        "labels": jnp.asarray(rng.integers(0, 4, 16)),
        "moments": Moments.of([]),
        "rule": MaxGWA(patience=10),
        "state": MaxGWA(patience=10).init(),
        "epoch": 1,
        "epochs": 5,
    }


def images_of_one_size():
    rng = np.random.default_rng(0)
    return {"np": np, "images": rng.integers(0, 256, (40, 8, 8, 3), np.uint8), "labels": np.arange(40) % 4}


def tokens():
    rng = np.random.default_rng(0)
    shapes = {"logits": (2, 5, 7), "embeddings": (2, 5, 3), "kernel": (3, 7)}
    arrays = {name: jnp.asarray(rng.standard_normal(shape), jnp.float32) for name, shape in shapes.items()}
    targets, mask = jnp.asarray(rng.integers(0, 7, (2, 5))), jnp.arange(10).reshape(2, 5) < 8
    from gwa import head_alignment

    state = {"head_alignment": head_alignment, "Moments": Moments, "moments": Moments.of([])}
    return {"targets": targets, "mask": mask, **arrays, **state}


def exported_networks():
    for folder in ("runs/digits/exported", "served"):
        if not pathlib.Path(folder).exists():
            export(load_trained("runs/digits"), pathlib.Path(folder), program=folder == "served")
    return {}


def plain_torch_loop():
    import torch
    from torch_process import Network, batches

    model = Network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    names = {"torch": torch, "cross_entropy": torch.nn.functional.cross_entropy}
    return {"model": model, "loader": list(batches(3)), "optimizer": optimizer, "epochs": 2, **names}


def torch_loop_with_rows():
    import torch
    from torch_process import Network, batches

    def train(model, monitor):
        for _ in range(2):
            for step, (images, labels) in enumerate(batches(3)):
                torch.nn.functional.cross_entropy(model(images), labels).backward()
                monitor.update(labels, index=torch.arange(16) + 16 * step)
            monitor.end_epoch()

    dataset_labels = torch.cat([labels for _, labels in batches(3)])
    torch.manual_seed(0)  # with some weights, no epoch has a GWA
    return {"model": Network(), "epochs": 2, "train": train, "dataset_labels": dataset_labels}


def lightning_training():
    import functools

    import lightning
    import torch
    from torch_hosts import QUIET_LIGHTNING, lightning_module
    from torch_process import batches

    rows = list(zip(*map(torch.cat, zip(*batches(3), strict=True)), strict=True))
    return {
        "Trainer": functools.partial(lightning.Trainer, **QUIET_LIGHTNING),
        "ModelCheckpoint": lightning.pytorch.callbacks.ModelCheckpoint,
        "module": lightning_module(lightning),
        "loader": torch.utils.data.DataLoader(rows),
    }


def huggingface_training():
    import torch
    import transformers
    from torch_hosts import QUIET_HUGGINGFACE, Classifier, dataset_of
    from torch_process import batches

    arguments = transformers.TrainingArguments(
        output_dir="out", num_train_epochs=2, save_strategy="no", **QUIET_HUGGINGFACE
    )
    dataset = dataset_of(*map(torch.cat, zip(*batches(3), strict=True)))
    return {"Trainer": transformers.Trainer, "model": Classifier(), "arguments": arguments, "dataset": dataset}


# What the blocks under a heading find when they run, besides `runs/digits` and `runs/mine` in the working directory.
STAND_INS = {
    ("README.md", "In your own loop"): linear_classifier,
    ("README.md", "Your own data"): images_of_one_size,
    ("docs/data.md", "Your own images"): images_of_one_size,
    ("docs/use.md", "Export"): exported_networks,
    ("docs/text.md", "GWA of a language model"): tokens,
}
TORCH_STAND_INS = {
    ("README.md", "In your own loop"): plain_torch_loop,
    ("docs/torch.md", "A loop of your own"): plain_torch_loop,
    ("docs/labels.md", "From the records of a run"): torch_loop_with_rows,
    ("docs/torch.md", "Lightning"): lightning_training,
    ("docs/torch.md", "Hugging Face Trainer"): huggingface_training,
}


def uses_torch(block):
    return "torch" in block.code


def pages_with(chosen):
    return [page for page in PAGES if page not in RUN_ELSEWHERE and any(map(chosen, python_blocks(page)))]


def run_page(page, chosen, stand_ins):
    """Runs the chosen blocks of a page in one namespace and returns it."""
    names, headings = {"__name__": "page"}, set()
    for block in filter(chosen, python_blocks(page)):
        if block.heading not in headings:
            names |= stand_ins.get((page, block.heading), dict)()
            headings.add(block.heading)
        block.run(names)
    return names


@pytest.fixture
def folder(small_run, tmp_path, monkeypatch):
    """A working directory with finished runs."""
    (tmp_path / "runs").mkdir()
    for name in ("digits", "mine"):
        (tmp_path / "runs" / name).symlink_to(small_run)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", pages_with(lambda block: not uses_torch(block)))
def test_page(page, folder):
    run_page(page, lambda block: not uses_torch(block), STAND_INS)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")  # what these libraries warn of is theirs
@pytest.mark.parametrize("page", pages_with(uses_torch))
def test_page_in_pytorch(page, tmp_path, monkeypatch):
    for library in ("torch", "lightning", "transformers"):
        pytest.importorskip(library)
    monkeypatch.chdir(tmp_path)
    names = run_page(page, uses_torch, TORCH_STAND_INS)
    monitor = names["monitor"]
    assert [record["epoch"] for record in monitor.history] == list(range(1, len(monitor.history) + 1))
    assert monitor.verdict.best_epoch


def test_pages_that_are_run_elsewhere():
    for page, test in RUN_ELSEWHERE.items():
        assert page not in PAGES or (ROOT / "tests" / "docs" / test).exists(), page


def test_own_loop():
    """What the README's loop adds to the moments are the cosines of its own gradients."""
    loss_and_step, epoch_end, _ = (b for b in python_blocks("README.md") if b.heading == "In your own loop")
    names = linear_classifier()
    loss_and_step.run(names)
    step = loss_and_step.code[loss_and_step.code.index("(loss, alignment)") :]
    exec(step, names)  # a second batch
    epoch_end.run(names)
    assert float(names["moments"].count) == 32
    assert names["verdict"].best_epoch == 1

    def loss_of_one(kernel, image, label):
        return optax.softmax_cross_entropy_with_integer_labels(image @ kernel, label)

    kernel = names["params"]["head"]["kernel"]
    gradient = -jax.vmap(jax.grad(loss_of_one), (None, 0, 0))(kernel, names["images"], names["labels"])
    norms = jnp.linalg.norm(gradient, axis=(1, 2)) * jnp.linalg.norm(kernel)
    np.testing.assert_allclose(names["alignment"], jnp.einsum("bij,ij->b", gradient, kernel) / norms, atol=1e-6)


def test_own_arrays(folder):
    """The file that the docs save is one that a run reads."""
    run_page("docs/data.md", lambda block: True, STAND_INS)
    config = base.get_config().dataset
    config.name, config.path = "arrays", str(folder / "mine.npz")
    np.testing.assert_array_equal(datasets.build(config).train.images, images_of_one_size()["images"])


def test_chosen_network(folder):
    """It says the same from the run, exported, and served."""
    logits = []
    for block in python_blocks("docs/use.md"):
        names = {"images": np.zeros((1, 8, 8, 1), np.uint8)} | STAND_INS.get(("docs/use.md", block.heading), dict)()
        block.run(names)
        logits.append(names["logits"])
    assert logits[0].shape == (1, 10)
    assert len(logits) == 3
    for others in logits[1:]:
        np.testing.assert_allclose(others, logits[0], rtol=0, atol=1e-6)


@pytest.mark.slow
def test_first_run_ends_as_the_pages_say(tmp_path):
    line = re.compile(r"^ *(chosen by dissent|last|best on test): +epoch +(\d+) +test accuracy ([\d.]+)$", re.MULTILINE)
    command = [sys.executable, "src/train.py", "--config=configs/digits.py", f"--workdir={tmp_path}"]
    result = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    printed = line.findall(result.stdout)
    assert len(printed) == 3
    for page in ("README.md", "docs/start.md"):
        promised = line.findall(PAGES[page])
        assert [name for name, _, _ in promised] == [name for name, _, _ in printed]
        for (_, epoch, accuracy), (_, its_epoch, its_accuracy) in zip(promised, printed, strict=True):
            assert int(its_epoch) == pytest.approx(int(epoch), abs=2)  # other processors round differently
            assert float(its_accuracy) == pytest.approx(float(accuracy), abs=0.02)
