"""As a script: a small network trained by Lightning or by transformers' Trainer, which may be killed in a step.

python host_process.py lightning|huggingface FOLDER [--steps-until-killed=10] [--resume=CHECKPOINT] [--lean]
64 samples, batches of 8, three epochs; a checkpoint every 4 steps. Prints the records as JSON.
"""

import argparse
import json
import os
import pathlib
import signal

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torch_process import Network, batches

EPOCHS, SIZE, RATE = 3, 8, 0.5
F = nn.functional


class Killed(Network):
    """Kills its process in the forward pass of a training step."""

    def __init__(self, steps):
        torch.manual_seed(0)
        super().__init__()
        self.steps_left = steps

    def forward(self, images, labels=None):
        self.steps_left -= self.training
        if self.steps_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        logits = super().forward(images)
        return logits if labels is None else {"loss": F.cross_entropy(logits, labels), "logits": logits}


class ResumableLoader(DataLoader):
    """Batches in their order, and from a checkpoint on those that were not seen: Lightning asks the loader for that."""

    seen = skipped = 0

    def __iter__(self):
        self.skipped, skipped = 0, self.skipped
        self.seen = skipped
        for batch in list(super().__iter__())[skipped:]:
            self.seen += 1
            yield batch

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.skipped = state["seen"] % len(self)


def rows():
    """64 images and labels."""
    return tuple(map(torch.cat, zip(*batches(8, SIZE), strict=True)))


def lightning_records(folder, steps, resume, loader=ResumableLoader, **options):
    import lightning
    from lightning.pytorch.callbacks import ModelCheckpoint

    from gwa.torch.lightning import AlignmentCallback

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = Killed(steps)

        def training_step(self, batch, batch_idx):
            return F.cross_entropy(self.model(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=RATE)

    alignment = AlignmentCallback("model.fc", num_examples=64, unpack=lambda batch: (batch[1], batch[2]))
    save = ModelCheckpoint(folder, "{step}", save_top_k=-1, every_n_train_steps=4)
    trainer = lightning.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[alignment, save],
        **({"max_epochs": EPOCHS} | options),
    )
    data = loader(TensorDataset(*rows(), torch.arange(64)), batch_size=SIZE)
    trainer.fit(Module(), data, ckpt_path=resume and folder / f"step={resume}.ckpt")
    return alignment.monitor.history


def huggingface_records(folder, steps, resume, **options):
    import transformers

    from gwa.torch.huggingface import AlignmentCallback

    alignment = AlignmentCallback("fc")
    trainer = transformers.Trainer(
        Killed(steps),
        transformers.TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=SIZE,
            learning_rate=RATE,
            optim="sgd",
            lr_scheduler_type="constant",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            dataloader_pin_memory=False,
            **({"num_train_epochs": EPOCHS, "save_strategy": "steps", "save_steps": 4} | options),
        ),
        train_dataset=[{"images": image, "labels": label} for image, label in zip(*rows(), strict=True)],
        callbacks=[alignment],
    )
    trainer.train(resume_from_checkpoint=resume and str(folder / f"checkpoint-{resume}"))
    assert [entry for entry in trainer.state.log_history if "gwa" in entry] == alignment.monitor.history
    return alignment.monitor.history


RECORDS = {"lightning": lightning_records, "huggingface": huggingface_records}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("host", choices=RECORDS)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--killed-in-step", type=int, default=-1)
    parser.add_argument("--resume", type=int, help="the step of a checkpoint in the folder")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    history = RECORDS[arguments.host](arguments.folder, arguments.killed_in_step, arguments.resume)
    print(json.dumps(history))


if __name__ == "__main__":
    main()
