"""Takes further estimates of the alignments at the checkpoints of a finished run, and compares them with its own.

uv run scripts/estimate.py runs/digits --estimator=offline --estimator='layers=.*kernel' [--checkpoint=max_gwa]

src/training/estimators.py lists the estimators. The numbers are also written to WORKDIR/estimates.json.
"""

import pathlib

import repository  # noqa: F401  (it puts our packages first on Python's path)

import command_line


def main() -> None:
    """Prints one line per checkpoint and estimate."""
    parser = command_line.Parser(__doc__)
    parser.add_argument("workdir", type=pathlib.Path)
    parser.add_argument("--estimator", action="append", required=True, help="may be given several times")
    parser.add_argument("--checkpoint", action="append", default=[], help="a rule of the run; all of them by default")
    arguments = parser.parse_args()
    from evaluation.estimates import estimate  # takes seconds, which --help need not wait for
    from training.run.durable import write_json
    from training.run.records import nan_to_null

    results = nan_to_null(estimate(arguments.workdir, arguments.estimator, arguments.checkpoint))
    for rule, result in results.items():
        for name, values in result["estimates"].items():
            parts = (
                f"{title} {format_number(values[field])} (online {format_number(result['online'][field])})"
                for field, title in (("gwa", "GWA"), ("alignment_mean", "mean"), ("excess_kurtosis", "excess kurtosis"))
            )
            print(f"{rule}  epoch {result['epoch']}  {name}:  {'  '.join(parts)}")
    write_json(arguments.workdir / "estimates.json", results)


def format_number(value: float | None) -> str:
    """Four decimals, or `undefined` for what JSON has as null."""
    return "undefined" if value is None else f"{value:.4f}"


if __name__ == "__main__":
    command_line.run(main)
