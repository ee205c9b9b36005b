"""What a person sees while training runs: a bar on a terminal; elsewhere a line per epoch and per minute."""

import collections
import sys
import time

import jax
from tqdm import tqdm

from gwa.rules import Record
from parallel.processes import is_main


class Progress:
    """A context manager; only process 0 prints.

    It reads values that are `LAG` dispatches old, so that the device never waits.
    """

    LAG = 2
    SECONDS = 60.0  # between the lines within an epoch

    def __init__(self, epochs: int, steps_per_epoch: int):
        self._epochs, self._steps_per_epoch = epochs, steps_per_epoch
        self._steps = self._steps_told = 0
        self._told = time.monotonic()
        self._pending: collections.deque[tuple[int, int, dict[str, jax.Array]]] = collections.deque()
        self._bar = None

    def start(self, steps_done: int) -> None:
        """Begins, after the steps that an earlier start has made."""
        self._steps = self._steps_told = steps_done
        if sys.stderr.isatty() and is_main():
            total = self._epochs * self._steps_per_epoch
            self._bar = tqdm(total=total, initial=steps_done, unit="step", dynamic_ncols=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show_dispatch(self, epoch: int, steps: int, so_far: dict[str, jax.Array]) -> None:
        """Notes a dispatch of `steps` steps, and shows an earlier one."""
        self._pending.append((epoch, steps, so_far))
        if len(self._pending) > self.LAG:
            self._show(*self._pending.popleft())

    def show_epoch(self, record: Record) -> None:
        """Shows what is still pending of an epoch that has ended, or prints the line of the epoch."""
        if self._bar is None:
            self._steps += sum(steps for _, steps, _ in self._pending)
            self._pending.clear()
            self._tell(self._line(record))
        while self._pending:
            self._show(*self._pending.popleft())

    def warn(self, message: str) -> None:
        """A line about the run on stderr, above the bar if there is one."""
        if is_main():
            tqdm.write(message, file=sys.stderr)

    def _show(self, epoch: int, steps: int, so_far: dict[str, jax.Array]) -> None:
        self._steps += steps
        seconds = time.monotonic() - self._told
        if not is_main() or (self._bar is None and seconds < self.SECONDS):
            return
        values = jax.device_get(so_far)
        shown = f"GWA {values['gwa']:.4f}, training accuracy {values['train_accuracy']:.3f}"
        if self._bar is not None:
            self._bar.set_description(f"epoch {epoch}/{self._epochs}", refresh=False)
            self._bar.set_postfix_str(shown, refresh=False)
            self._bar.update(steps)
            return
        step = self._steps - (epoch - 1) * self._steps_per_epoch
        speed = (self._steps - self._steps_told) / seconds
        self._tell(f"epoch {epoch}/{self._epochs}  step {step}/{self._steps_per_epoch}  {speed:.3g} steps/s  {shown}")

    def _tell(self, line: str) -> None:
        if is_main():
            print(line, flush=True)
        self._told, self._steps_told = time.monotonic(), self._steps

    def _line(self, record: Record) -> str:
        shown = {
            "loss": ("train_loss", "{:.4f}"),
            "training accuracy": ("train_accuracy", "{:.3f}"),
            "GWA": ("gwa", "{:.4f}"),
            "validation accuracy": ("val_accuracy", "{:.3f}"),
            "test accuracy": ("test_accuracy", "{:.3f}"),
            "seconds": ("seconds", "{:.1f}"),
        }
        parts = [
            f"{name} {form.format(record[field])}" for name, (field, form) in shown.items() if record[field] is not None
        ]
        if record["gwa"] is None:
            parts.append(f"GWA undefined ({record.get('reasons', {}).get('gwa', 'not measured')})")
        minutes = (self._epochs - record["epoch"]) * record["seconds"] / 60
        if minutes >= 1:
            parts.append(f"about {minutes:.0f} min left")
        if record["feed_seconds"] >= 0.05:
            parts.append(f"waiting for images {record['feed_seconds']:.1f}")
        return f"epoch {record['epoch']}/{self._epochs}  " + "  ".join(parts)
