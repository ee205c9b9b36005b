"""Trains a finished run again without each of a few folds, and writes what the networks say of what they have not seen.

uv run scripts/cross_validate.py runs/x [--folds=5]

For comparisons with cleanlab, whose input `pred_probs` is runs/x/cross_validation/probabilities.npy, [N, classes] in
the order of labels.npz. The folds are trained one after another; interrupted, the same command continues. Of a folder
of runs, those that were trained on cleaned labels are left out.
"""

import pathlib

import repository  # noqa: F401  (it puts our packages first on Python's path)

import command_line


def main() -> None:
    """Prints what it took."""
    parser = command_line.Parser(__doc__)
    parser.add_argument("folder", type=pathlib.Path, help="a work directory, or a folder of them")
    parser.add_argument("--folds", type=int, default=5, help="how many parts; each is left out of one training")
    arguments = parser.parse_args()
    from reports.cross_validation import PROBABILITIES, cross_validate  # takes seconds, which --help need not wait for
    from training.run.reader import read_run_or_runs

    runs = read_run_or_runs(arguments.folder)
    for run in runs:
        if run.config["dataset"].get("labels") and len(runs) > 1:
            print(f"{run.workdir}: trained on cleaned labels; left out")
            continue
        result = cross_validate(run, arguments.folds)
        took = f"{result['folds']} trainings, {result['seconds']:.0f} s in total"
        print(f"{run.workdir / PROBABILITIES}: {took}; the run itself took {run.summary['seconds']:.0f} s")


if __name__ == "__main__":
    command_line.run(main)
