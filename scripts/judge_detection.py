"""Judges how well alignments, losses, margins and others find the wrong labels of finished runs.

uv run scripts/judge_detection.py runs/regimes

For one run or a folder of runs that know clean labels, have wrong ones, and were trained with
--config.record="('loss','margin','error_norm')". Writes detection.json into each work directory;
scripts/tables.py --table=detection compares the runs of the sweep. With --write, it also writes flagged/<score>.csv for
a few scores, which flags as many of the most suspect labels as there are wrong ones (configs/sweeps/clean_labels.py).
"""

import pathlib

import repository  # noqa: F401  (it puts our packages first on Python's path)

import command_line
from reports.detection import DEFAULT, FILE, judge_detection, write_flagged
from training.run.durable import write_json
from training.run.reader import read_run_or_runs


def main() -> None:
    """Prints one line per run."""
    parser = command_line.Parser(__doc__)
    parser.add_argument("folder", type=pathlib.Path, help="a work directory, or a folder of them")
    parser.add_argument("--write", action="store_true", help="the labels that each score flags, as CSV")
    arguments = parser.parse_args()
    for run in read_run_or_runs(arguments.folder):
        if not run.summary["wrong_label_share"]:
            print(f"{run.workdir}: no wrong labels are known; left out")
            continue
        judged = judge_detection(run)
        write_json(run.workdir / FILE, judged)
        if arguments.write:
            write_flagged(run)
        auroc = judged["scores"][DEFAULT]["auroc"]
        print(f"{run.workdir}: {judged['wrong']} of {judged['samples']} labels wrong, AUROC {100 * auroc:.1f} %")


if __name__ == "__main__":
    command_line.run(main)
