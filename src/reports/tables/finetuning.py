"""Fine-tuning in small: what each rule chooses where GWA dips at first."""

from __future__ import annotations

from collections.abc import Sequence

from reports.tables.layout import Table
from reports.tables.single import COLUMNS, command_of, rows_of
from training.run.reader import FinishedRun, group_by_seed

SWEEP = "finetune_cifar10_small"
TEXT = """A small ViT, trained on five classes of CIFAR-10 (`pretrain`) and from there on 5,000 images of the other \
five (`finetune`; `validation` holds out a tenth of them), with SGD as the paper fine-tunes; then with two fifths of \
the labels made wrong (`noisy`), and without crops and flips too (`noisy_plain`). Test accuracies in %, of the classes \
trained on."""


def finetuning(runs: Sequence[FinishedRun]) -> list[Table]:
    """One row per run and rule, and the command of each run; nothing where there is no such run."""
    found = [run for run in runs if run.sweep == SWEEP]
    if not found:
        return []
    rows = tuple(row for group in group_by_seed(found) for row in rows_of(group))
    after = ("Commands:", "", *map(command_of, found))
    return [Table("finetuning", "Fine-tuning in small", TEXT, COLUMNS, rows, labels=4, after=after)]
