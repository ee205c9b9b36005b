"""Writes the table of all runs under a folder, as Markdown: what each rule's choice, the last and the best epoch give.

uv run scripts/tables.py results > results/README.md

Runs whose configs differ in `seed` alone share a row: mean ± standard deviation over n of them.
"""

import argparse
import json
import pathlib
import shlex
import statistics
import sys
from typing import Any

HEAD = """# Results

Made by `uv run scripts/tables.py results` from the records beside this page: for each run its `config.json`,
`environment.json` (the command, versions and hardware), `history.jsonl` and `summary.json`. Test accuracies in %,
mean ± standard deviation over n seeds; "best on test" is what no rule can know. Wrong labels are in the training set
alone. The CIFAR-10 images behind these runs are JPEG copies (lossy), so accuracies lie a little below those on the
original. Times are wall-clock on a shared machine, pauses included.
"""


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    folder = parser.parse_args().folder
    runs = [read(path.parent) for path in sorted(folder.glob("*/summary.json"))]
    if not runs:
        print(f"tables.py: {folder} holds no finished run", file=sys.stderr)
        sys.exit(2)
    print(HEAD)
    print("\n".join(table(runs)))
    print("\nCommands:\n")
    for run in runs:
        command = shlex.join(word for word in shlex.split(run["command"]) if not word.startswith("--workdir="))
        print(f"- `{run['name']}`: `uv run {command}` ({run['summary']['seconds'] / 60:.1f} min on {run['hardware']})")


def read(workdir: pathlib.Path) -> dict[str, Any]:
    """What the table needs of a run."""
    config, environment, summary = (
        json.loads((workdir / f"{name}.json").read_text()) for name in ("config", "environment", "summary")
    )
    return {
        "name": workdir.name,
        "group": json.dumps(config | {"seed": None}, sort_keys=True),
        "command": environment["command"],
        "hardware": f"{len(environment['devices'])} × {environment['devices'][0]}, {environment['cpu_count']} cores",
        "summary": summary,
    }


def table(runs: list[dict[str, Any]]) -> list[str]:
    """One row per group of runs and rule."""
    rows = [
        "| run | n | wrong labels | rule | its epochs | there | last epoch | best on test (epochs) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    groups: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        groups.setdefault(run["group"], []).append(run)
    for group in groups.values():
        summaries = [run["summary"] for run in group]
        wrong = summaries[0]["wrong_label_share"]
        last, best = ([summary[name] for summary in summaries] for name in ("last", "best_on_test"))
        for rule in summaries[0]["rules"]:
            chosen = [summary["rules"][rule] for summary in summaries]
            cells = (
                f"`{group[0]['name']}`",
                str(len(group)),
                "unknown" if wrong is None else f"{100 * wrong:.1f} %",
                rule,
                epochs(chosen),
                accuracy(chosen),
                accuracy(last),
                f"{accuracy(best)} ({epochs(best)})",
            )
            rows.append(f"| {' | '.join(cells)} |")
    return rows


def epochs(choices: list[dict[str, Any]]) -> str:
    """The chosen epochs, one per seed."""
    return ", ".join("none" if choice["epoch"] is None else str(choice["epoch"]) for choice in choices)


def accuracy(choices: list[dict[str, Any]]) -> str:
    """Mean test accuracy and its standard deviation."""
    values = [100 * choice["test_accuracy"] for choice in choices if choice["test_accuracy"] is not None]
    if not values:
        return "not measured"
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{spread}"


if __name__ == "__main__":
    main()
