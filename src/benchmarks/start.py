"""start: CPU seconds from the command to the end of a run of one step, and to the answer to a mistake.

A cold start has no cache of compiled programs, a warm one has. `--against` names another checkout of the repository,
with an environment of its own, whose commands alternate with ours.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import tempfile
from collections.abc import Callable

from repository import ROOT

from benchmarks.comparison import Comparison, Options, compare, time_children
from errors import UserError

MISTAKES = {
    "field": "--config.optimizer.learning_rat=1",
    "network": "--config.network.name=convnext",
    "rule": "--config.stopping.rules=('max_gva',)",
    "data set": "--config.dataset.name=cifar11",
}


def measure(options: Options) -> list[Comparison]:
    """A comparison per command, of the checkouts."""
    checkouts = {"here": ROOT} | ({"there": options.against} if options.against else {})
    for checkout in checkouts.values():
        if not python_of(checkout).exists():
            raise UserError(f"there is no {python_of(checkout)}; run `uv sync` in {checkout}")
    one_step = ["--config.epochs=1", "--config.dataset.train_examples=128", *options.overrides]
    train = ["src/train.py", f"--config={options.config}"]
    commands: dict[str, tuple[list[str], bool, int]] = {
        "a run of one step, cold": ([*train, *one_step], True, 0),
        "a run of one step, warm": ([*train, *one_step], False, 0),
        "import training.loop": (["-c", "import sys; sys.path.insert(0, 'src'); import training.loop"], False, 0),
        **{f"a mistyped {what}": ([*train, flag], False, 2) for what, flag in MISTAKES.items()},
    }
    with tempfile.TemporaryDirectory() as scratch:
        return [
            compare(
                title,
                {
                    name: time_children(run_command(checkout, command, pathlib.Path(scratch), cold, code))
                    for name, checkout in checkouts.items()
                },
                options.rounds,
                "s of CPU time",
                uncounted=1,
            )
            for title, (command, cold, code) in commands.items()
        ]


def python_of(checkout: pathlib.Path) -> pathlib.Path:
    """The interpreter of a checkout's environment."""
    return checkout / ".venv" / "bin" / "python"


def run_command(
    checkout: pathlib.Path, command: list[str], scratch: pathlib.Path, cold: bool, code: int
) -> Callable[[], None]:
    """A program that runs Python in a checkout, and expects an exit code."""
    has_page = '"report"' in (checkout / "configs" / "base.py").read_text()  # the first version writes none
    without_page = ["--config.report=False"] if has_page else []

    def run() -> None:
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            cache = folder if cold else scratch / f"cache of {checkout.resolve().as_posix().replace('/', ' ')}"
            arguments = [f"--workdir={folder}/run", *without_page] if command[0] == "src/train.py" else []
            result = subprocess.run(
                [python_of(checkout.resolve()), *command, *arguments],
                cwd=checkout,
                env=os.environ | {"XDG_CACHE_HOME": str(cache)},
                capture_output=True,
                text=True,
            )
        if result.returncode != code:
            last = (result.stderr.strip().splitlines() or [""])[-1]
            raise UserError(f"{checkout}: {' '.join(command)} ended with exit code {result.returncode}: {last}")

    return run
