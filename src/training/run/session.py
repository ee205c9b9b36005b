"""An open work directory: its lock, records, checkpoints, progress and tracking, held by one context manager."""

from __future__ import annotations

import contextlib
import math
import pathlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

import stop_requests
from errors import Stopped, UserError
from gwa.rules import Record
from gwa.rules.dissent import vote
from parallel import devices
from parallel.agreement import Agreement
from parallel.processes import broadcast, check_shared, gather_from_all, is_main, is_multiprocess, run_on_main
from training.collector import Collector
from training.run.checkpoints import Checkpoints
from training.run.identity import check_data, check_same_data, describe_data
from training.run.progress import Progress
from training.run.records import Records, list_samples
from training.run.restoring import has_checkpoint
from training.run.tracking import Tracking
from training.run.workdir import check_cleaning, check_overwrite, claim
from training.signals import list_bimodal

if TYPE_CHECKING:
    from training.prepare import Setup
    from training.state import TrainState


@contextlib.contextmanager
def open_run(setup: Setup, workdir: pathlib.Path, overwrite: bool) -> Iterator[Session]:
    """Opens a work directory for this process alone; the run in it is deleted first if the user says so.

    Raises:
      UserError: when another process is training in it, or the data, or the file that cleans the labels, are others
        than before.
    """
    config = setup.config
    data = describe_data(setup.splits) if is_main() else {}
    if is_multiprocess():
        check_same_data(setup.splits)

    def check() -> None:
        if overwrite:
            check_overwrite(workdir, config)
        elif has_checkpoint(workdir):
            check_cleaning(workdir, setup.splits.cleaning)
            check_data(workdir, data)

    run_on_main(check)
    with contextlib.ExitStack() as stack:
        stack.enter_context(claim(workdir, config, overwrite))
        check_shared(workdir / "environment.json")
        checkpoints = stack.enter_context(Checkpoints(workdir))
        tracking = stack.enter_context(Tracking(config, workdir))
        progress = stack.enter_context(Progress(config.epochs, setup.steps_per_epoch))
        yield Session(setup, data, Records(workdir, list_samples(config)), checkpoints, tracking, progress)


class Session:
    """What a run writes and shows.

    Attributes:
      checkpoints: the whole state to resume from, and the parameters that each rule keeps.
      progress: what a person sees meanwhile.
    """

    def __init__(
        self,
        setup: Setup,
        data: Mapping[str, Any],
        records: Records,
        checkpoints: Checkpoints,
        tracking: Tracking,
        progress: Progress,
    ):
        self.checkpoints, self.progress = checkpoints, progress
        self._setup, self._data, self._records, self._tracking = setup, data, records, tracking
        self._stop = Agreement(setup.mesh)
        self._saved, self._saved_at = 0, -math.inf  # the epoch of the latest checkpoint at the end of one, and when

    @property
    def history(self) -> list[Record]:
        """The records of all finished epochs."""
        return self._records.history

    def resume(self, initial_state: TrainState) -> tuple[int, TrainState, Collector]:
        """Where training continues: the number of finished epochs, the state, and what an interrupted epoch has shown.

        Records of an epoch that has no checkpoint are dropped, as that epoch is trained again.

        Raises:
          UserError: when no checkpoint can be restored, or the records do not go with it.
        """
        setup = self._setup
        run_on_main(self._check_checkpoint)
        recorded = len(self.history) if self._records.cut_off else None
        epoch, state, started = self.checkpoints.resume(initial_state, setup.steps_per_epoch, recorded)
        collector = Collector(started)
        self._records.truncate(epoch)
        self._records.write_labels(self._data, setup.splits.cleaning)
        steps = epoch * setup.steps_per_epoch + collector.steps
        self.progress.start(steps)
        if is_main():
            batch = devices.describe_batch(setup.batch_size, setup.mesh)
            print(batch + (f"; continues after step {steps}" if steps else ""))
            if setup.splits.cleaning is not None:
                print(setup.splits.cleaning.describe())
        return epoch, state, collector

    def _check_checkpoint(self) -> None:
        """Refuses records without a checkpoint; those of one epoch may have been cut off before it was written."""
        workdir, epochs = self._records.workdir, len(self.history)
        if epochs > 1 and not has_checkpoint(workdir):
            raise UserError(
                f"{workdir} holds {epochs} epochs in history.jsonl, but no checkpoint to continue from; put "
                "checkpoints/resume back, or choose another --workdir"
            )

    def last_predictions(self) -> np.ndarray | None:
        """The predictions of the latest finished epoch, `[N]`; None before the first, and on all other processes."""
        return self._records.last_predictions()

    def vote_on_past(self) -> np.ndarray:
        """The class that each training sample's predictions in the finished epochs vote for, int32 `[N]`, or −1."""
        train, num_classes = self._setup.splits.train, len(self._setup.splits.class_names)
        past = np.full(len(train), -1, np.int32)
        if self.history and is_main():
            past = vote(self._records.predictions(), num_classes)
        return broadcast(past)

    def is_asked_to_stop(self) -> bool:
        """Whether a signal asks training to end after this dispatch; the same in all processes."""
        stop_requests.defer()
        return self._stop.ask(stop_requests.asked() is not None)

    @contextlib.contextmanager
    def interruptible(self, epoch: int, state: TrainState, collector: Collector) -> Iterator[None]:
        """A block that only computes, after all steps of an epoch; several processes finish it.

        Raises:
          Stopped: when a signal asks training to end; what the steps have shown is saved.
        """
        if is_multiprocess():
            yield
            return
        try:
            with stop_requests.interruptible():
                yield
        except stop_requests.Interrupted:
            self.save_and_stop(epoch, state, collector)

    def save_and_stop(self, epoch: int, state: TrainState, collector: Collector) -> NoReturn:
        """Saves an epoch that is not finished, and ends training.

        Raises:
          Stopped: always.
        """
        stop_requests.answer()
        step = (epoch - 1) * self._setup.steps_per_epoch + collector.steps
        self.checkpoints.save_begun(step, state, collector.fetch())
        self._stop_after(step)

    def stop_if_asked(self, state: TrainState) -> None:
        """Ends training after an epoch, whose state is saved if it has not been.

        Raises:
          Stopped: when a signal asks for it, in any process.
        """
        if any(gather_from_all(stop_requests.asked() is not None)):
            stop_requests.answer()
            if self._saved < len(self.history):
                self._save(state)
            self._stop_after(self.history[-1]["step"])

    def _is_due(self, epoch: int) -> bool:
        config = self._setup.config
        return epoch == config.epochs or time.monotonic() - self._saved_at >= 60 * config.checkpoint_minutes

    def _save(self, state: TrainState) -> None:
        """Saves the state after the latest epoch that is recorded."""
        self.checkpoints.save_resume(self.history[-1]["step"], state)
        self._saved, self._saved_at = len(self.history), time.monotonic()

    def _stop_after(self, step: int) -> NoReturn:
        by, steps = stop_requests.asked(), self._setup.config.epochs * self._setup.steps_per_epoch
        raise Stopped(
            f"stopped{f' by {stop_requests.describe(by)}' if by else ''} after step {step} of {steps}; everything is "
            "saved, and the same command continues"
        )

    def save_epoch(
        self, record: dict[str, Any], samples: dict[str, np.ndarray], state: TrainState, improved: Sequence[str]
    ) -> None:
        """Writes what an epoch leaves behind; the checkpoint to resume from comes last, so a cut repeats the epoch.

        Args:
          record: of the epoch.
          samples: by name, arrays `[N]` of the training samples in row order.
          state: after the epoch.
          improved: names of the rules for which the epoch is the best so far.
        """
        epoch = record["epoch"]
        self.checkpoints.wait()  # so at most one epoch has records and no checkpoint
        self.checkpoints.keep_best(improved, epoch, state.params, state.ema)
        self._records.append(record, samples)
        if run_on_main(lambda: self._is_due(epoch)):
            self._save(state)
        self._tracking.log(self.history[-1])
        self.progress.show_epoch(self.history[-1])
        if record["non_finite_alignments"]:
            count = record["non_finite_alignments"]
            kept = "" if improved else ", and no rule keeps the epoch"
            self.progress.warn(f"epoch {epoch}: {count} of the alignments are not finite, so GWA is undefined{kept}")
        if list_bimodal(self.history, self._setup.config.stopping.warmup) == [epoch]:
            self.progress.warn(f"epoch {epoch}: the alignments become bimodal (two peaks); GWA is unreliable now")

    def track_page(self, page: pathlib.Path | None) -> None:
        """Shows the page of the run to whoever tracks it; None if it could not be written."""
        if page is not None:
            self._tracking.log_page(page)

    def finish(self, summary: dict[str, Any]) -> None:
        """Writes the summary, which marks the run as finished."""
        self._tracking.summarize(summary)
        self._records.write_summary(summary)
