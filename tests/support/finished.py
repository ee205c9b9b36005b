"""Work directories of finished runs, written by hand."""

import json
import pathlib

from sweeps import Run, definition


def write_run(workdir, test, gwa=None, config=None, rules=("max_gwa",), summary=None, **fields):
    """A run whose records hold these values by epoch: `test` accuracies, `gwa`, and other fields of records.

    In the folder of a sweep it gets the config that the sweep gives it; `config` holds other values.
    """
    workdir.mkdir(parents=True)
    epochs = len(test)
    columns = {"gwa": gwa or [0.1] * epochs, "train_accuracy": [0.5] * epochs, "test_accuracy": test, **fields}
    history = [
        {"epoch": i + 1, "progress": (i + 1) / epochs} | {name: values[i] for name, values in columns.items()}
        for i in range(epochs)
    ]
    choice = {"epoch": epochs, "test_accuracy": test[-1]}
    defaults = {
        "chosen_by": rules[0],
        "rules": dict.fromkeys(rules, choice),
        "last": choice,
        "best_on_test": choice,
        "epochs": epochs,
        "wrong_label_share": 0.2,
        "seconds": 90.0,
    }
    environment = {"command": f"src/train.py --config=x.py --workdir={workdir}", "devices": ["cpu"], "cpu_count": 2}
    files = {
        "config": {"seed": 0, **swept_config(workdir), **(config or {})},
        "environment": environment,
        "summary": defaults | (summary or {}),
    }
    for name, content in files.items():
        (workdir / f"{name}.json").write_text(json.dumps(content))
    (workdir / "history.jsonl").write_text("".join(json.dumps(record) + "\n" for record in history))


def swept_config(workdir):
    name, imagenet, _ = workdir.parent.name.partition("_imagenet")
    file = f"configs/sweeps/{name}.py"
    runs = definition.load(f"{file}:imagenet" if imagenet else file).runs if pathlib.Path(file).exists() else ()
    return next((json.loads(definition.configure(run).to_json()) for run in runs if run.name == workdir.name), {})


def list_runs(monkeypatch, cells):
    """Lets every sweep file list these cells, so that tests of tables do not depend on what is planned to be run."""
    runs = tuple(Run("configs/digits.py", cell) for cell in cells)
    monkeypatch.setattr("sweeps.definition.load", lambda path: definition.Sweep(path, runs))
    return [run.name for run in runs]
