"""Trains the runs of a sweep: finished runs are left alone, interrupted ones continue, failed ones get a second try.

Whoever trains a run writes to its log and holds a lock on it. The training process inherits the lock with the open
file, so the lock lasts as long as anything trains there, even if the sweep that started it has been killed. Sweeps that
write to one folder therefore never train a run at the same time; they share the work.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import fcntl
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import IO, NamedTuple

from command_line import ASKED_TO_STOP, MISTAKE
from errors import UserError
from sweeps.comparison import find_differences
from sweeps.definition import Run, configure
from sweeps.gpus import divide_gpus
from training.run.reader import read_config, read_summary

_TRIES = 2
_SECONDS_TO_SAVE = 40  # of a training process that has been asked to stop
_CHILD = pathlib.Path(__file__).with_name("child.py")


@dataclasses.dataclass(frozen=True, eq=False)
class Training:
    """A run and where it is kept.

    Attributes:
      run: what is trained.
      folder: the folder of the sweep, which holds the work directories of its runs and their `logs`.
    """

    run: Run
    folder: pathlib.Path

    @property
    def workdir(self) -> pathlib.Path:
        """The work directory of `src/train.py`."""
        return self.folder / self.run.name

    @property
    def log(self) -> pathlib.Path:
        """The file with what `src/train.py` prints, all attempts one after another."""
        return self.folder / "logs" / f"{self.run.name}.log"

    @property
    def command(self) -> str:
        """The command that trains the run, for a shell."""
        return self.run.command(self.workdir)

    @property
    def finished(self) -> bool:
        """Whether the run is complete."""
        return (self.workdir / "summary.json").exists()

    def find_mistake(self) -> str | None:
        """Why a finished run is not that of this sweep: it has another config, or a damaged file; None if it is."""
        if not self.finished or not (self.workdir / "history.jsonl").exists():
            return None
        try:
            read_summary(self.workdir)
            stored = json.loads(read_config(self.workdir).to_json_best_effort())
        except UserError as error:
            return str(error)
        config = json.loads(configure(self.run).to_json_best_effort())
        different = find_differences(config, stored)
        listed = ", ".join(f"{field}: {there} there, {here} here" for field, (here, there) in different.items())
        return f"{self.workdir} holds a run with another config ({listed})" if different else None

    @property
    def state(self) -> str:
        """`finished`, `unfinished`, `new` or, if it is finished and not the sweep's or is damaged, `refused`."""
        if self.find_mistake():
            return "refused"
        if self.finished:
            return "finished"
        return "unfinished" if (self.workdir / "config.json").exists() else "new"

    @property
    def minutes(self) -> float:
        """How long a finished run has trained."""
        return read_summary(self.workdir)["seconds"] / 60

    def start(
        self,
        wait: bool = False,
        ignore: Collection[signal.Signals] = (),
        variables: Mapping[str, str] = types.MappingProxyType({}),
    ) -> subprocess.Popen | None:
        """Starts the process that trains the run; returns None if another process is already training it.

        Args:
          wait: wait for the other process to end, instead of returning None.
          ignore: signals that the process ignores.
          variables: of its environment, besides those of this process.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a") as log:
            try:
                fcntl.flock(log, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                return None
            print(f"[{datetime.datetime.now():%Y-%m-%d %H:%M}] {self.command}", file=log, flush=True)
            return start_python(self.run.arguments(self.workdir), log, ignore, variables)


class Failure(NamedTuple):
    """A run that did not finish.

    Attributes:
      reason: how it ended, such as `exit code 1`.
      log: the file that says more.
      exit_code: None where it is not known.
    """

    training: Training
    reason: str
    log: pathlib.Path
    exit_code: int | None

    @property
    def last_line(self) -> str:
        """The last line of the log that is not blank."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it is empty")


class SweepProgress:
    """Prints a line whenever a run starts or ends, with an estimate of the time until all have ended."""

    def __init__(self, total: int, finished: int):
        self._total, self._before, self._finished = total, finished, finished
        self._started = time.monotonic()

    def report_start(self, training: Training) -> None:
        """A run has been started."""
        print(f"started   {training.run.name}", flush=True)

    def report_wait(self, training: Training) -> None:
        """Another sweep is training the run."""
        print(f"waits     {training.run.name}  (another process trains it)", flush=True)

    def report_finish(self, training: Training) -> None:
        """A run is complete."""
        self._finished += 1
        left = self._total - self._finished
        estimate = (time.monotonic() - self._started) / (self._finished - self._before) * left
        print(
            f"finished  {training.run.name}  ({training.minutes:.1f} min; {self._finished} of {self._total}"
            + (f", {_format_duration(estimate)} left)" if left else ")"),
            flush=True,
        )

    def report_failure(self, failure: Failure) -> None:
        """A run has ended without being complete."""
        if failure.exit_code in ASKED_TO_STOP:
            print(f"stopped   {failure.training.run.name}  (it is trained again)", flush=True)
            return
        print(f"failed    {failure.training.run.name}  ({failure.reason}: {failure.last_line})", flush=True)


class Interruption:
    """A context in which Ctrl-C and SIGTERM wait for the next `sleep`, so that no process is lost as it is started."""

    def __enter__(self) -> Interruption:
        self._noted = 0
        self._handlers = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def sleep(self, seconds: float) -> None:
        """Waits.

        Raises:
          KeyboardInterrupt: after Ctrl-C or SIGTERM.
        """
        deadline = time.monotonic() + seconds
        while not self._noted and time.monotonic() < deadline:
            time.sleep(min(seconds, 0.2))
        if self._noted:
            raise KeyboardInterrupt

    def is_repeated(self) -> bool:
        """Whether there has been a second one."""
        return self._noted > 1

    def _note(self, number: int, frame: object) -> None:
        self._noted += 1


# Trains runs and returns those that failed.
Launcher = Callable[[Sequence[Training], SweepProgress], list[Failure]]


def launch(trainings: Sequence[Training], launcher: Launcher) -> list[Failure]:
    """Trains the runs that are not finished.

    One that was stopped by a signal is trained again after the others. One that fails, other than by a
    user's mistake, gets a second try.

    Raises:
      KeyboardInterrupt: after Ctrl-C or SIGTERM, when everything that was started has been stopped.
    """
    unfinished = [training for training in trainings if not training.finished]
    progress = SweepProgress(len(trainings), len(trainings) - len(unfinished))
    failures = [
        Failure(training, mistake, training.log, MISTAKE)
        for training in trainings
        if training.finished and (mistake := training.find_mistake())
    ]
    tries = collections.Counter[Training]()
    while unfinished:
        ended = launcher(unfinished, progress)
        tries.update(failure.training for failure in ended if failure.exit_code not in ASKED_TO_STOP)
        again = [end for end in ended if end.exit_code != MISTAKE and tries[end.training] < _TRIES]
        failures += [end for end in ended if end not in again]
        unfinished = [end.training for end in again]
        if unfinished:
            stopped = sum(end.exit_code in ASKED_TO_STOP for end in again)
            counts = {"that were stopped": stopped, "that failed": len(again) - stopped}
            listed = " and ".join(f"{count} {what}" for what, count in counts.items() if count)
            print(f"trained again: {listed}", flush=True)
    return failures


def train_here(trainings: Sequence[Training], progress: SweepProgress, max_parallel: int = 1) -> list[Failure]:
    """Trains on this machine, `max_parallel` at a time, in order, and waits for runs that another sweep is training.

    Runs that train at the same time divide the GPUs among them.

    Raises:
      KeyboardInterrupt: after Ctrl-C or SIGTERM, when every process has been stopped.
    """
    max_parallel = min(max_parallel, max(len(trainings), 1))
    waiting = list(trainings)
    elsewhere: set[Training] = set()
    running: dict[Training, subprocess.Popen] = {}
    places, line = divide_gpus(max_parallel)
    taken: dict[Training, Mapping[str, str]] = {}
    failures = []
    if line:
        print(line, flush=True)
    with Interruption() as interruption:
        try:
            while waiting or running:
                for training in list(waiting):
                    if training.finished:  # by another sweep
                        waiting.remove(training)
                        progress.report_finish(training)
                    elif len(running) == max_parallel:
                        break
                    elif process := training.start(variables=places[-1]):
                        waiting.remove(training)
                        running[training], taken[training] = process, places.pop()
                        progress.report_start(training)
                    elif training not in elsewhere:
                        elsewhere.add(training)
                        progress.report_wait(training)
                interruption.sleep(0.1)
                for training in [training for training, process in running.items() if process.poll() is not None]:
                    code = running.pop(training).returncode
                    places.append(taken.pop(training))
                    if training.finished:
                        progress.report_finish(training)
                    else:
                        failures.append(Failure(training, describe_exit(code), training.log, code))
                        progress.report_failure(failures[-1])
        finally:
            stop(running.values(), interruption)
    return failures


def start_python(
    arguments: Sequence[str],
    log: IO[str] | None = None,
    ignore: Collection[signal.Signals] = (),
    variables: Mapping[str, str] = types.MappingProxyType({}),
) -> subprocess.Popen:
    """Starts Python in a process group of its own, which Ctrl-C does not reach; on Linux it dies with this process.

    Call this from the main thread: the process would die with any other thread that started it.

    Args:
      arguments: of Python.
      log: takes what the process prints; None leaves it where this process prints.
      ignore: signals that the process ignores.
      variables: of its environment, besides those of this process.
    """
    parent = os.getpid() if sys.platform == "linux" else 0
    ignored = ",".join(str(int(number)) for number in ignore)
    return subprocess.Popen(
        [sys.executable, str(_CHILD), str(parent), ignored, *arguments],
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log and subprocess.STDOUT,
        process_group=0,
    )


def describe_exit(code: int) -> str:
    """An exit code in words; negative codes are signals, as in `subprocess`."""
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def stop(processes: Collection[subprocess.Popen], interruption: Interruption) -> None:
    """Lets processes save and end; ends them and what they have started after 40 s, or on a second Ctrl-C."""
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + _SECONDS_TO_SAVE
    while any(process.poll() is None for process in processes):
        if interruption.is_repeated() or time.monotonic() > deadline:
            for process in processes:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        time.sleep(0.05)


def _format_duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if not minutes:
        return "less than 1 min"
    return f"about {minutes} min" if minutes < 120 else f"about {minutes / 60:.0f} h"
