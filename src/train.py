"""Trains a classifier and keeps the checkpoint that its own training scores choose.

uv run src/train.py --config=configs/digits.py [--workdir=runs/digits] [--overwrite] [--config.field=value ...]
"""

import logging
import pathlib
import sys

from absl import app, flags
from ml_collections import config_flags

import repository  # noqa: F401  (it puts our packages first on Python's path)

import command_line
import datasets
import stop_requests
from config_line import check_flags
from errors import UserError
from parallel import processes
from parallel.allocator import keep_freed_memory

_CONFIG = config_flags.DEFINE_config_file("config", None, "A file of configs/, with :variant where it has variants.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Where the run is kept; runs/<config name> by default.")
_COORDINATOR = flags.DEFINE_string("coordinator", None, "Several processes: host:port of process 0 (docs/launch.md).")
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Several processes: how many there are.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Several processes: which one this is, from 0.")
_DEBUG = flags.DEFINE_bool("debug", False, "Show the traceback of an error.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Start anew in a work directory that holds a run.")


def main(argv: list[str]) -> None:
    """Runs what the flags say and reports what came of it."""
    del argv
    logging.getLogger().setLevel(logging.WARNING)  # absl would let every library report what it does
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a signal may end the program at any time
    workdir = pathlib.Path(_WORKDIR.value or pathlib.Path("runs", _config_name()))
    with processes.end_together():
        command_line.run(lambda: _train(workdir), workdir)


def _train(workdir: pathlib.Path) -> None:
    if _CONFIG.value.keep_freed_memory and _CONFIG.value.dataset.feed == "resident":
        keep_freed_memory()  # before JAX is imported
    if not (workdir / "summary.json").exists():  # a finished run needs no data
        datasets.check_name(_CONFIG.value.dataset)
    from training.run.workdir import find_summary  # imported after the checks: a typo is answered at once

    processes.initialize(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    stop_requests.listen()  # again: with several processes JAX has taken SIGTERM
    with processes.name_loss():
        _check_configs()
        summary = processes.run_on_main(lambda: find_summary(workdir, _CONFIG.value, _OVERWRITE.value))
        if summary is None:
            from reports.run_page import write_at_end
            from training.loop import train

            summary = train(_CONFIG.value, workdir, _OVERWRITE.value, write_at_end if _CONFIG.value.report else None)
        elif processes.is_main():
            print(f"{workdir} holds a finished run; --overwrite deletes it and starts again.")
    if processes.is_main():
        from training.selection import describe_end

        print(*describe_end(summary, workdir), sep="\n")


def _check_configs() -> None:
    """Refuses processes that were started with different configs; each may have its files at a path of its own."""
    if not processes.is_multiprocess():
        return
    from training.run.reader import flatten_config
    from training.run.workdir import FREE

    of_hosts = (*FREE, "dataset.path", "dataset.labels", "evaluate_path", "pretrained")
    fields = flatten_config(_CONFIG.value.to_dict())
    here = {name: repr(value) for name, value in fields.items() if not name.startswith(of_hosts)}
    here["--overwrite"] = repr(_OVERWRITE.value)
    if difference := processes.find_disagreement(here):
        number, names = difference
        processes.refuse_together(
            f"processes 0 and {number} were started with different {', '.join(names)}; all need the same command"
        )


def parse(argv: list[str]) -> list[str]:
    """The flags' values from the command line; a mistake in it ends the program with one line and exit code 2."""
    if {"--help", "-h", "-help"} & set(argv):
        app.usage(shorthelp=True, writeto_stdout=True)
        sys.exit()
    try:
        config, rest = check_flags(flags.FLAGS, command_line.expand_home(argv))
    except UserError as error:
        command_line.refuse(error)
    if config is None:
        command_line.refuse("--config is missing; it names a file such as configs/digits.py")
    if rest:
        command_line.refuse(f"{rest[0]} is not understood; options start with --")
    return argv[:1]


def _config_name() -> str:
    """configs/cifar10_small.py:vit is cifar10_small_vit."""
    file, _, variant = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")
    return "_".join(filter(None, (pathlib.Path(file).stem, variant)))


if __name__ == "__main__":
    stop_requests.listen()
    app.run(main, flags_parser=parse)
