"""The small network of `torch_process` in Lightning and in transformers' Trainer.

As a script, `torch_hosts.py lightning|huggingface FOLDER`: a run that is killed in step 14.
"""

import os
import pathlib
import signal
import sys

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torch_process import Network, batches

EPOCHS, SIZE, RATE = 3, 8, 0.5
QUIET_LIGHTNING = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
QUIET_HUGGINGFACE = {"report_to": [], "disable_tqdm": True, "use_cpu": True, "dataloader_pin_memory": False}
PLAIN_SGD = {"learning_rate": RATE, "optim": "sgd", "lr_scheduler_type": "constant", "max_grad_norm": 0.0}


def lightning_module(lightning):
    """The network as a module of this package, `lightning` or `pytorch_lightning`."""

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = Network()

        def training_step(self, batch, batch_idx):
            return F.cross_entropy(self.model(batch[0]), batch[1])

        def validation_step(self, batch, batch_idx):
            self.training_step(batch, batch_idx)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=RATE)

    return Module()


class Classifier(nn.Module):
    """The network as transformers has its models: with the loss, and a head of the usual name."""

    def __init__(self):
        super().__init__()
        network = Network()
        self.hidden, self.classifier = network.hidden, network.fc

    def forward(self, images, labels=None):
        logits = self.classifier(self.hidden(images).relu())
        return logits if labels is None else {"loss": F.cross_entropy(logits, labels), "logits": logits}


def dataset_of(images, labels):
    """Rows as transformers' Trainer takes them."""
    return [{"images": image, "labels": label} for image, label in zip(images, labels, strict=True)]


class ResumableLoader(DataLoader):
    """Continues with the batches that were not seen; Lightning looks for these two methods."""

    seen = skipped = 0

    def __iter__(self):
        self.seen, self.skipped = self.skipped, 0
        for batch in list(super().__iter__())[self.seen :]:
            self.seen += 1
            yield batch

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.skipped = state["seen"] % len(self)


def kill_in_step(network, step):
    """SIGKILL to this process in the forward pass of a training step, which is counted from 1."""
    steps = 0

    def count(module, inputs):
        nonlocal steps
        steps += module.training
        if steps == step:
            os.kill(os.getpid(), signal.SIGKILL)

    network.register_forward_pre_hook(count)


def train_with_lightning(folder, killed_in_step=None, resume=None, loader=ResumableLoader, **options):
    """The monitor of a run with 64 samples, 8 steps an epoch and `step=N.ckpt` every 4; `resume` is such an N."""
    import lightning

    from gwa.torch.lightning import AlignmentCallback

    torch.manual_seed(0)
    module = lightning_module(lightning)
    kill_in_step(module.model, killed_in_step)
    alignment = AlignmentCallback("model.fc", num_examples=64, unpack=lambda batch: (batch[1], batch[2]))
    save = lightning.pytorch.callbacks.ModelCheckpoint(folder, "{step}", save_top_k=-1, every_n_train_steps=4)
    trainer = lightning.Trainer(callbacks=[alignment, save], **{"max_epochs": EPOCHS, **QUIET_LIGHTNING, **options})
    images, labels = map(torch.cat, zip(*batches(8, SIZE), strict=True))
    data = loader(TensorDataset(images, labels, torch.arange(64)), batch_size=SIZE)
    trainer.fit(module, data, ckpt_path=resume and folder / f"step={resume}.ckpt")
    return alignment.monitor


def train_with_huggingface(folder, killed_in_step=None, resume=None, **options):
    """The same, in the order that the Trainer draws; checkpoints are `checkpoint-N`."""
    import transformers

    from gwa.torch.huggingface import AlignmentCallback

    torch.manual_seed(0)
    model = Classifier()
    kill_in_step(model, killed_in_step)
    alignment = AlignmentCallback("classifier")
    saving = {"save_strategy": "steps", "save_steps": 4, "num_train_epochs": EPOCHS}
    settings = {"per_device_train_batch_size": SIZE, **PLAIN_SGD, **QUIET_HUGGINGFACE, **saving, **options}
    trainer = transformers.Trainer(
        model,
        transformers.TrainingArguments(output_dir=folder, **settings),
        train_dataset=dataset_of(*map(torch.cat, zip(*batches(8, SIZE), strict=True))),
        callbacks=[alignment],
    )
    trainer.train(resume_from_checkpoint=resume and str(folder / f"checkpoint-{resume}"))
    assert [entry for entry in trainer.state.log_history if "gwa" in entry] == alignment.monitor.history
    return alignment.monitor


TRAIN = {"lightning": train_with_lightning, "huggingface": train_with_huggingface}


if __name__ == "__main__":
    torch.set_num_threads(1)
    TRAIN[sys.argv[1]](pathlib.Path(sys.argv[2]), killed_in_step=14)
