"""Lightning and transformers' Trainer with the callback give the records of a plain loop over the same batches."""

import functools
import json
import math
import os
import pathlib
import subprocess
import sys

import pytest

import gwa

torch = pytest.importorskip("torch")
import torch_hosts  # noqa: E402
from torch_hosts import PLAIN_SGD, QUIET_HUGGINGFACE, QUIET_LIGHTNING, RATE, Classifier, dataset_of  # noqa: E402
from torch_process import Network, batches  # noqa: E402

gwa_torch = pytest.importorskip("gwa.torch")
nn, F = torch.nn, torch.nn.functional
torch.set_num_threads(1)  # two threads on a busy machine wait for each other

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore"),  # what these libraries warn of is theirs
]
EPOCHS = 3


def plain_history(model, accumulate=1, epochs=EPOCHS, change=lambda *batch: batch):
    """The three lines in a plain loop, on what `change` makes of the images and labels of a batch.

    The gradient is that of the mean over `accumulate` batches.
    """
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    monitor = gwa_torch.AlignmentMonitor(model, "fc", epochs=epochs)
    for _ in range(epochs):
        for step, batch in enumerate(batches(6)):
            images, targets = change(*batch)
            (F.cross_entropy(model(images), targets) / accumulate).backward()
            if (step + 1) % accumulate == 0:
                optimizer.step()
                optimizer.zero_grad()
            monitor.update(targets)
        monitor.end_epoch()
    return monitor.history


def assert_same(history, expected):
    for record, wanted in zip(history, expected, strict=True):
        for name in ("epoch", "progress", "train_accuracy", "gwa", "alignment_mean", "alignment_variance"):
            assert record[name] == pytest.approx(wanted[name], rel=1e-5, abs=1e-6), name


def loader(count):
    images, labels = map(torch.cat, zip(*batches(count), strict=True))
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images, labels), batch_size=16)


def lightning_trainer(tmp_path, callbacks, **options):
    lightning = pytest.importorskip("lightning")
    return lightning.Trainer(
        default_root_dir=tmp_path, callbacks=callbacks, **{"max_epochs": EPOCHS, **QUIET_LIGHTNING, **options}
    )


def lightning_module():
    torch.manual_seed(0)
    return torch_hosts.lightning_module(pytest.importorskip("lightning"))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_lightning(tmp_path, accumulate):
    lightning = pytest.importorskip("lightning")
    from gwa.torch.lightning import AlignmentCallback

    callback = AlignmentCallback(head="model.fc")
    keep_best = lightning.pytorch.callbacks.ModelCheckpoint(tmp_path, "{epoch}", monitor="gwa", mode="max")
    trainer = lightning_trainer(tmp_path, [callback, keep_best], accumulate_grad_batches=accumulate)
    module = lightning_module()
    expected = plain_history(lightning_module().model, accumulate)
    trainer.fit(module, loader(6), loader(2))
    assert_same(callback.monitor.history, expected)
    assert callback.monitor.verdict.best_epoch == gwa.MaxGWA().select(expected)
    assert float(keep_best.best_model_score) == pytest.approx(max(record["gwa"] for record in expected), abs=1e-6)
    assert not module.model.fc._forward_hooks


OLDER_NAME = """
import sys
sys.modules["lightning"] = None  # as if it were not installed
import pytorch_lightning, torch
from torch_hosts import QUIET_LIGHTNING, lightning_module
from torch_process import batches
from gwa.torch.lightning import AlignmentCallback

torch.manual_seed(0)
callback = AlignmentCallback(head="model.fc")
trainer = pytorch_lightning.Trainer(max_epochs=3, callbacks=[callback], enable_checkpointing=False, **QUIET_LIGHTNING)
trainer.fit(lightning_module(pytorch_lightning), torch.utils.data.DataLoader(list(batches(6)), batch_size=None))
print([record["gwa"] for record in callback.monitor.history])
"""


@pytest.mark.parametrize("both", [False, True], ids=["alone", "beside lightning"])
def test_lightning_by_its_older_name(both):
    pytest.importorskip("pytorch_lightning")
    code = OLDER_NAME.replace('sys.modules["lightning"] = None', "import lightning") if both else OLDER_NAME
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    expected = [record["gwa"] for record in plain_history(lightning_module().model)]
    assert json.loads(run.stdout.splitlines()[-1]) == pytest.approx(expected, rel=1e-5)


def mix(images, labels):
    targets = F.one_hot(labels, 4).float()
    return 0.7 * images + 0.3 * images.flip(0), 0.7 * targets + 0.3 * targets.flip(0)


def smooth(images, labels):
    return images, 0.9 * F.one_hot(labels, 4) + 0.025


def test_lightning_with_targets_that_the_training_step_makes(tmp_path):
    from gwa.torch.lightning import AlignmentCallback

    callback = AlignmentCallback(head="model.fc")

    class Mixing(type(lightning_module())):
        def training_step(self, batch, batch_idx):
            images, targets = mix(*batch)
            loss = F.cross_entropy(self.model(images), targets)
            callback.monitor.update(targets)
            return loss

    torch.manual_seed(0)
    lightning_trainer(tmp_path, [callback]).fit(Mixing(), loader(6))
    assert_same(callback.monitor.history, plain_history(lightning_module().model, change=mix))


def test_lightning_stops_and_resumes(tmp_path):
    from gwa.torch.lightning import AlignmentCallback

    impatient = gwa.MaxGWA(patience=1, warmup=0.0)
    expected = plain_history(lightning_module().model, epochs=9)
    first = AlignmentCallback("model.fc", rule=impatient)
    trainer = lightning_trainer(tmp_path, [first], max_epochs=1)
    trainer.fit(lightning_module(), loader(6))
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    second = AlignmentCallback("model.fc", rule=impatient)
    trainer = lightning_trainer(tmp_path, [second], max_epochs=9)
    trainer.fit(lightning_module(), loader(6), ckpt_path=tmp_path / "one.ckpt")
    stopped = stopping_epoch(impatient, expected)
    assert [record["epoch"] for record in second.monitor.history] == list(range(1, stopped + 1))
    assert [record["gwa"] for record in second.monitor.history] == pytest.approx(
        [record["gwa"] for record in expected[:stopped]], abs=1e-6
    )


def stopping_epoch(rule, history):
    """The epoch after which the rule stops, or the last one."""
    state = rule.init()
    for record in history:
        state, verdict = rule.update(state, record)
        if verdict.stop:
            return record["epoch"]
    return len(history)


@pytest.fixture
def huggingface_trainer(tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    return functools.partial(make_huggingface_trainer, transformers, tmp_path)


def make_huggingface_trainer(transformers, folder, callback, loss=None, **options):
    settings = {
        "num_train_epochs": EPOCHS,
        "per_device_train_batch_size": 16,
        "save_strategy": "no",
        "eval_strategy": "epoch",
        "train_sampling_strategy": "sequential",
    }
    arguments = transformers.TrainingArguments(
        output_dir=folder, **{**settings, **PLAIN_SGD, **QUIET_HUGGINGFACE, **options}
    )
    rows = dataset_of(*map(torch.cat, zip(*batches(6), strict=True)))
    torch.manual_seed(0)
    return transformers.Trainer(
        Classifier(), arguments, train_dataset=rows, eval_dataset=rows, callbacks=[callback], compute_loss_func=loss
    )


@pytest.mark.parametrize("accumulate", [1, 2])
def test_huggingface_trainer_gives_the_records_of_a_plain_loop(huggingface_trainer, accumulate):
    from gwa.torch.huggingface import AlignmentCallback

    callback = AlignmentCallback(head="classifier")
    trainer = huggingface_trainer(callback, gradient_accumulation_steps=accumulate)
    torch.manual_seed(0)
    expected = plain_history(Network(), accumulate)
    trainer.train()
    assert_same(callback.monitor.history, expected)
    logged = [entry["gwa"] for entry in trainer.state.log_history if "gwa" in entry]
    assert logged == [record["gwa"] for record in callback.monitor.history]
    assert not trainer.model._forward_pre_hooks


@pytest.mark.parametrize("metric", ["gwa", "eval_gwa"])
@pytest.mark.parametrize("save", ["epoch", "best"])
def test_huggingface_trainer_loads_the_epoch_of_the_highest_gwa(huggingface_trainer, metric, save):
    from gwa.torch.huggingface import AlignmentCallback

    callback = AlignmentCallback("classifier")
    trainer = huggingface_trainer(
        callback,
        metric_for_best_model=metric,
        load_best_model_at_end=True,
        save_strategy=save,
        learning_rate=10.0,  # GWA falls after the second epoch
    )
    trainer.train()
    curve = [record["gwa"] for record in callback.monitor.history]
    best = curve.index(max(curve)) + 1
    assert best == 2
    assert trainer.state.best_metric == max(curve)
    assert trainer.state.best_global_step == 6 * best
    folder = pathlib.Path(trainer.state.best_model_checkpoint)
    saved = pytest.importorskip("safetensors.torch").load_file(folder / "model.safetensors")
    assert all(saved[name].equal(value) for name, value in trainer.model.state_dict().items())
    assert "eval_gwa" not in trainer.evaluate()


def test_huggingface_trainer_that_evaluates_within_epochs_has_no_gwa(huggingface_trainer):
    from gwa.torch.huggingface import AlignmentCallback

    trainer = huggingface_trainer(AlignmentCallback("classifier"), metric_for_best_model="gwa", eval_strategy="steps")
    with pytest.raises(ValueError, match="eval_strategy must be 'epoch', not 'steps'"):
        trainer.train()


def test_huggingface_trainer_stops(huggingface_trainer):
    from gwa.torch.huggingface import AlignmentCallback

    impatient = gwa.MaxGWA(patience=1, warmup=0.0)
    torch.manual_seed(0)
    expected = plain_history(Network(), epochs=9)
    callback = AlignmentCallback("classifier", rule=impatient)
    huggingface_trainer(callback, num_train_epochs=9).train()
    assert len(callback.monitor.history) == stopping_epoch(impatient, expected) < 9
    assert math.isfinite(callback.monitor.history[-1]["gwa"])


def test_huggingface_trainer_whose_loss_passes_the_targets(huggingface_trainer):
    from gwa.torch.huggingface import AlignmentCallback

    callback = AlignmentCallback("classifier")

    def loss(logits, labels, **_):
        _, targets = smooth(None, labels)
        if torch.is_grad_enabled():
            callback.monitor.update(targets)
        return F.cross_entropy(logits, targets)

    huggingface_trainer(callback, loss=loss).train()
    torch.manual_seed(0)
    assert_same(callback.monitor.history, plain_history(Network(), change=smooth))


def test_huggingface_trainer_that_keeps_its_labels_is_told(huggingface_trainer):
    from gwa.torch.huggingface import AlignmentCallback

    trainer = huggingface_trainer(
        AlignmentCallback("classifier"), loss=lambda logits, labels, **_: F.cross_entropy(logits, labels)
    )
    with pytest.raises(ValueError, match="compute_loss_func"):
        trainer.train()
