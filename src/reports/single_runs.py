"""Runs one by one: what each rule's choice, the last and the best epoch give; single runs, and fine-tuning in small."""

from __future__ import annotations

import json
import re
import shlex
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from repository import ROOT

from config_line import parse_config
from errors import UserError
from reports.layout import Line, Table
from sweeps.comparison import may_differ
from training.run.reader import FinishedRun, flatten_config, group_by_seed

SINGLE_TEXT = """Runs whose configs differ in `seed` alone share a row. Test accuracies in %, mean ± standard \
deviation over n seeds; "best on test" is the best epoch on the test set, which no rule can know. Wrong labels are \
in the training set alone. Times are wall-clock on a shared machine, pauses included. The commands are those \
that were run, with further flags where a default has changed since."""

FINETUNING_SWEEP = "finetune_cifar10_small"
FINETUNING_TEXT = """A small ViT, trained on five classes of CIFAR-10 (`pretrain`) and from there on 5,000 images of \
the other five (`finetune`; `validation` holds out a tenth of them), with SGD as the paper fine-tunes; then with two \
fifths of the labels made wrong (`noisy`), and without crops and flips too (`noisy_plain`). Test accuracies in %, on \
the classes that the run trains on."""

COLUMNS = (
    "run",
    "n",
    "wrong labels",
    "rule",
    "chosen epochs",
    "test accuracy at the chosen epoch",
    "at the last epoch",
    "best on test (epochs)",
)

Choice = Mapping[str, Any]


def tabulate_single_runs(runs: Sequence[FinishedRun]) -> list[Table]:
    """One row per group of runs and rule, and the command of each run; nothing where there are no single runs.

    Runs of sweeps that are not in configs/sweeps are single runs, too.
    """
    known = (FINETUNING_SWEEP, *(path.stem for path in ROOT.glob("configs/sweeps/*.py")))
    single = [run for run in runs if not any(f"{run.sweep}_".startswith(f"{sweep}_") for sweep in known)]
    return _tabulate(single, "runs", "Single runs", SINGLE_TEXT)


def tabulate_finetuning(runs: Sequence[FinishedRun]) -> list[Table]:
    """The same of the runs of fine-tuning in small."""
    found = [run for run in runs if run.sweep == FINETUNING_SWEEP]
    return _tabulate(found, "finetuning", "Fine-tuning in small", FINETUNING_TEXT)


def _tabulate(runs: Sequence[FinishedRun], name: str, title: str, text: str) -> list[Table]:
    if not runs:
        return []
    rows = tuple(row for group in group_by_seed(runs) for row in _make_rows(group))
    after = ("Commands:", "", *map(_describe_command, runs))
    return [Table(name, title, text, COLUMNS, rows, labels=4, after=after)]


def _make_rows(group: Sequence[FinishedRun]) -> list[Line]:
    """One row per rule of runs that differ in their seed alone."""
    summaries = [run.summary for run in group]
    wrong = summaries[0]["wrong_label_share"]
    last, best = ([summary[name] for summary in summaries] for name in ("last", "best_on_test"))
    rows: list[Line] = []
    for rule in summaries[0]["rules"]:
        chosen = [summary["rules"][rule] for summary in summaries]
        row = (
            f"`{group[0].name}`",
            str(len(group)),
            "unknown" if wrong is None else f"{100 * wrong:.1f} %",
            rule,
            _list_epochs(chosen),
            _average_accuracy(chosen),
            _average_accuracy(last),
            f"{_average_accuracy(best)} ({_list_epochs(best)})",
        )
        rows.append(row)
    return rows


def _describe_command(run: FinishedRun) -> str:
    """The command, the time and the hardware of a run, as an entry of a list."""
    words = [word for word in shlex.split(run.environment["command"]) if not word.startswith("--workdir=")]
    command = shlex.join([*words, *_list_changed_defaults(run, words[1:])])
    devices = run.environment["devices"]
    hardware = f"{len(devices)} × {devices[0]}, {run.environment['cpu_count']} cores"
    return f"- `{run.name}`: `uv run {command}` ({run.summary['seconds'] / 60:.1f} min on {hardware})"


def _list_changed_defaults(run: FinishedRun, arguments: Sequence[str]) -> list[str]:
    """The flags with which a run's command gives the run's config again, where defaults have changed since."""
    here = [re.sub(r"^--config=(?=configs/)", f"--config={ROOT}/", word) for word in arguments]
    try:
        config = parse_config(here)
    except UserError:  # a config file that is not there any more
        config = None
    if config is None:
        return []
    today = flatten_config(json.loads(config.to_json_best_effort()))
    return [
        f"--config.{field}={','.join(map(str, value)) if isinstance(value, list) else value}"
        for field, value in flatten_config(run.config).items()
        if field in today and today[field] != value and not may_differ(field)
    ]


def _list_epochs(choices: Sequence[Choice]) -> str:
    """The chosen epochs, one per seed."""
    return ", ".join("none" if choice["epoch"] is None else str(choice["epoch"]) for choice in choices)


def _average_accuracy(choices: Sequence[Choice]) -> str:
    """Mean test accuracy and its standard deviation."""
    values = [100 * choice["test_accuracy"] for choice in choices if choice["test_accuracy"] is not None]
    if not values:
        return "not measured"
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{spread}"
