"""Trains the runs that a file of configs/sweeps lists.

uv run scripts/sweep.py configs/sweeps/table1_small.py [--dry_run] [--max_parallel=2] [--only='clean-*'] ...

A run is kept in <output>/<sweep>/<run>, its log in <output>/<sweep>/logs. After Ctrl-C or a crash, give the same
command again: finished runs are left alone, interrupted ones continue. Two of the same command share the work.
--config.field=value is added to every run. Exit code: 0 if all runs are finished, 1 if some have failed, 75 after
Ctrl-C or SIGTERM, 2 for a mistake.

On Slurm, from a login node, with repository and output on a disk that the nodes share:

uv run scripts/sweep.py configs/sweeps/table1.py --launcher=slurm --max_parallel=8 --partition=gpu --gpus_per_node=1

With Weights & Biases, whose agents train run after run, as many of them as wanted:

uv run scripts/sweep.py configs/sweeps/table1.py --wandb_file=sweep.yaml --config.wandb.mode=online
uv run wandb sweep sweep.yaml
uv run wandb agent <what that prints>
"""

import functools
import pathlib
import sys

import repository  # noqa: F401  (it puts our packages first on Python's path)

import command_line
from errors import UserError
from sweeps.definition import load, select, write_wandb_sweep
from sweeps.launch import Launcher, Training, launch, train_here
from sweeps.slurm import train_on_slurm


def main() -> None:
    """Trains, or shows what would be trained."""
    parser = command_line.Parser(__doc__)
    parser.add_argument("sweep", help="the sweep file, with :variant where it has variants")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs"))
    parser.add_argument("--only", default="*", help="glob of the runs' names")
    parser.add_argument("--dry_run", action="store_true", help="list the runs' states and commands, and do nothing")
    parser.add_argument("--max_parallel", type=int, default=1, help="runs at a time")
    parser.add_argument("--launcher", choices=("local", "slurm"), default="local")
    parser.add_argument("--wandb_file", type=pathlib.Path, help="write a Weights & Biases sweep, and train nothing")
    slurm = parser.add_argument_group("Slurm, per job")
    slurm.add_argument("--time_limit", type=int, default=240, help="minutes; a job that needs more is queued again")
    slurm.add_argument("--partition")
    slurm.add_argument("--gpus_per_node", type=int)
    slurm.add_argument("--cpus_per_task", type=int)
    slurm.add_argument("--memory", type=float, help="GB")
    arguments, rest = parser.parse_known_args()
    sweep = select(load(arguments.sweep), arguments.only, rest)
    if arguments.max_parallel < 1:
        raise UserError(f"--max_parallel is {arguments.max_parallel}; it must be at least 1")
    trainings = [Training(run, arguments.output / sweep.name) for run in sweep.runs]
    if arguments.wandb_file:
        write_wandb_sweep(arguments.wandb_file, sweep, [arguments.sweep, f"--output={arguments.output}", *rest])
    elif arguments.dry_run:
        print("\n".join(f"{training.state:10}  {training.command}" for training in trainings))
    else:
        local = functools.partial(train_here, max_parallel=arguments.max_parallel)
        on_slurm = functools.partial(
            train_on_slurm,
            max_parallel=arguments.max_parallel,
            timeout_min=arguments.time_limit,
            slurm_partition=arguments.partition,
            gpus_per_node=arguments.gpus_per_node,
            cpus_per_task=arguments.cpus_per_task,
            mem_gb=arguments.memory,
        )
        train_all(trainings, local if arguments.launcher == "local" else on_slurm)


def train_all(trainings: list[Training], launcher: Launcher) -> None:
    """Trains, and prints what failed; ends the program with exit code 1 if anything is left to do."""
    try:
        failures = launch(trainings, launcher)
    except KeyboardInterrupt:
        print("stopped; the same command continues", flush=True)
        sys.exit(command_line.SAVED)
    print(f"{len(trainings) - len(failures)} of {len(trainings)} runs are finished")
    for failure in failures:
        print(f"{failure.training.run.name}: {failure.reason}\n    {failure.last_line}\n    {failure.log}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    command_line.run(main)
