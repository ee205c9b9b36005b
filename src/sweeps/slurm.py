"""Trains the runs of a sweep as one array of Slurm jobs, through submitit.

A job that runs out of time, is preempted or loses its node is queued again and continues where it stopped: Slurm
announces the end, and training saves. If the sweep is killed, its jobs go on; if it is then started again, its new jobs
wait for them.
"""

from __future__ import annotations

import contextlib
import io
import pathlib
import shutil
import signal
import subprocess
import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from errors import UserError
from sweeps.launch import Failure, Interruption, SweepProgress, Training, describe_exit

if TYPE_CHECKING:
    import submitit

_REQUEUES = 1000  # how often a job may run out of time; a run ends with its last epoch
_SECONDS_OF_WARNING = 120  # before the end of a job
_SECONDS_BETWEEN_LOOKS = 5
_SECONDS_FOR_FILES = 15  # until a file that was written on a node appears here


class Job:
    """What a node executes. Slurm announces the end of a job by SIGUSR2, as submitit asks it to; SIGTERM is the end."""

    def __init__(self, training: Training):
        self._training = training
        self._process: subprocess.Popen | None = None

    def __call__(self) -> int:
        """Trains and returns the exit code."""
        self._process = self._training.start(wait=True, ignore=(signal.SIGUSR2,))
        assert self._process is not None
        while self._process.poll() is None:
            time.sleep(0.2)
        return self._process.returncode

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """What submitit queues again when training has saved: the same job, as `src/train.py` continues by itself."""
        import submitit

        if self._process is not None:
            self._process.send_signal(signal.SIGUSR1)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_SECONDS_OF_WARNING - 20)
        return submitit.helpers.DelayedSubmission(Job(self._training))


def train_on_slurm(
    trainings: Sequence[Training], progress: SweepProgress, max_parallel: int, **resources: Any
) -> list[Failure]:
    """Submits an array of jobs, of which `max_parallel` run at once, and waits for them.

    Args:
      trainings: what to train, one run per job.
      progress: where to report what happens to the jobs.
      max_parallel: how many jobs run at a time.
      resources: `timeout_min`, `slurm_partition`, `gpus_per_node`, `cpus_per_task` and `mem_gb` of submitit's
        AutoExecutor; None leaves it to the cluster.

    Raises:
      UserError: when Slurm is not installed here or refuses the jobs.
      KeyboardInterrupt: after Ctrl-C or SIGTERM, when the jobs have been cancelled.
    """
    failures = []
    with Interruption() as interruption:
        jobs = _submit(trainings, max_parallel, resources)
        try:
            while jobs:
                interruption.sleep(_SECONDS_BETWEEN_LOOKS)
                queued = _list_queued(jobs.values())
                for training, job in list(jobs.items()):
                    if job.job_id in queued:
                        continue
                    failure = _find_failure(training, jobs.pop(training))
                    if failure is None:
                        progress.report_finish(training)
                    else:
                        failures.append(failure)
                        progress.report_failure(failure)
        finally:
            for job in jobs.values():
                job.cancel(check=False)
    return failures


def _submit(
    trainings: Sequence[Training], max_parallel: int, resources: dict[str, Any]
) -> dict[Training, submitit.Job[int]]:
    if shutil.which("sbatch") is None:
        raise UserError("there is no command sbatch here; start the sweep on a node that has the commands of Slurm")
    import submitit

    folder = trainings[0].folder
    executor = submitit.AutoExecutor(folder / "logs" / "slurm", cluster="slurm", slurm_max_num_timeout=_REQUEUES)
    executor.update_parameters(
        name=folder.name,
        slurm_array_parallelism=max_parallel,
        slurm_signal_delay_s=_SECONDS_OF_WARNING,
        slurm_additional_parameters={"requeue": True},
        **{name: value for name, value in resources.items() if value is not None},
    )
    try:
        with contextlib.redirect_stderr(io.StringIO()), executor.batch():  # submitit prints what it raises as well
            jobs = [executor.submit(Job(training)) for training in trainings]
        array = jobs[0].job_id.partition("_")[0]
    except submitit.core.utils.FailedJobError as error:
        raise UserError(f"Slurm refuses the sweep: {str(error).strip().splitlines()[-1]}") from None
    print(f"submitted {len(jobs)} jobs as {array}; their queue: squeue --jobs={array}", flush=True)
    return dict(zip(trainings, jobs, strict=True))


def _list_queued(jobs: Collection[submitit.Job[int]]) -> set[str]:
    """The ids of the jobs that wait or run; all of them while Slurm does not answer."""
    array = next(iter(jobs)).job_id.partition("_")[0]
    command = ["squeue", "--noheader", "--array", "--format=%i", f"--jobs={array}"]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode and "Invalid job id" not in result.stderr:  # Slurm has forgotten that one
        return {job.job_id for job in jobs}
    return set(result.stdout.split())


def _find_failure(training: Training, job: submitit.Job[int]) -> Failure | None:
    """Why a job that has left the queue failed; None if its run is finished.

    submitit's own `done` asks sacct, which not every cluster keeps.
    """
    deadline = time.monotonic() + _SECONDS_FOR_FILES
    while time.monotonic() < deadline:
        if training.finished:
            return None
        if job.paths.result_pickle.exists():
            break
        time.sleep(1)
    else:
        return Failure(training, "ended by Slurm", _find_longest(training.log, job.paths.stderr), None)
    if job.exception() is not None:
        return Failure(training, "not started", job.paths.stderr, None)
    code = job.result()
    return Failure(training, describe_exit(code), training.log, code)


def _find_longest(*logs: pathlib.Path) -> pathlib.Path:
    return max(logs, key=lambda log: log.stat().st_size if log.exists() else 0)
