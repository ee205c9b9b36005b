"""Every script on a run of which one file is damaged: its output is as before, or one line names that file."""

import itertools
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from run_scripts import check_refusal, run_script
from small_runs import small

from training import loop

SCRIPTS = {
    "tables": lambda run: [run.parent],
    "ablate": lambda run: [run],
    "label_issues": lambda run: [run],
    "report": lambda run: [run],
    "figures": lambda run: [run, f"--output={run / 'overview.svg'}"],
    "export": lambda run: [run],
    "predict": lambda run: [run, run.parent / "picture.png"],
    "evaluate": lambda run: [run, "--on=cifar10_c", "--severities=1", "--examples=2"],
    "estimate": lambda run: [run, "--estimator=offline"],
}
READ_BY = {
    "config.json": tuple(SCRIPTS),
    "environment.json": tuple(SCRIPTS),
    "history.jsonl": tuple(SCRIPTS),
    "summary.json": tuple(SCRIPTS),
    "labels.npz": ("label_issues", "report", "figures", "export", "predict", "estimate"),
    "scores.npy": ("ablate", "label_issues", "report", "figures"),
    "predictions.npy": ("label_issues", "report"),
    "checkpoints/max_gwa/**/*": ("export", "predict", "evaluate", "estimate"),
}
OUTPUTS = ("report.html", "label_issues.csv", "overview.svg")
DAMAGES = {
    "emptied": lambda data: b"",
    "cut in half": lambda data: data[: len(data) // 2],
    "one bit flipped": lambda data: flip(data),
    "deleted": None,
}
SHOWS_LESS = {  # without a file that a copy of a run may lack: what is shown is of the others
    *[("deleted", file, script) for file in ("labels.npz", "scores.npy") for script in ("report", "figures")],
    ("deleted", "predictions.npy", "report"),
    ("deleted", "summary.json", "report"),  # which says that the run is unfinished
}


def flip(data):
    """A bit of a digit, which leaves JSON valid, or of a byte in the middle."""
    digits = [match.start() for match in re.finditer(rb"[0-9]", data)] if data.isascii() else []
    data, place = bytearray(data), digits[len(digits) // 2] if digits else 2 * len(data) // 3
    data[place] ^= 1
    return bytes(data)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1], 30)
    images = (rng.integers(0, 128, (60, 32, 32, 3)) + 100 * labels[:, None, None, None]).astype(np.uint8)
    Image.fromarray(images[0]).save(folder / "picture.png")
    np.savez(
        folder / "source.npz", images=images[:48], labels=labels[:48], test_images=images[48:], test_labels=labels[48:]
    )
    fields = {"dataset.name": "arrays", "dataset.path": str(folder / "source.npz"), "dataset.train_examples": 0}
    loop.train(small(**fields, batch_size=16), folder / "run")
    shutil.rmtree(folder / "run" / "checkpoints" / "resume")
    return folder / "run"


def read_all(run):
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def call(script, run, before):
    """Runs a script, and removes what it has written; returns its result and that."""
    result = run_script(f"{script}.py", *SCRIPTS[script](run))
    written = {name: (run / name).read_bytes() for name in OUTPUTS if (run / name).exists()}
    for path, data in read_all(run).items():
        if path in before:
            assert data == before[path], f"{script} has changed {path}"
        else:
            path.unlink()
    shutil.rmtree(run / "exported", ignore_errors=True)
    return result, written


@pytest.fixture(scope="module")
def undamaged(run):
    before = read_all(run)
    outcomes = {script: call(script, run, before) for script in SCRIPTS}
    assert [result for result, _ in outcomes.values() if result.returncode or not result.stdout] == []
    return outcomes


@pytest.mark.parametrize(("pattern", "damage"), [*itertools.product(READ_BY, DAMAGES)])
def test_it_shows_the_same_or_names_the_damaged_file(run, undamaged, pattern, damage):
    files, change = [path for path in run.glob(pattern) if path.is_file()], DAMAGES[damage]
    for path in files:
        data, file = path.read_bytes(), path.name
        try:
            path.write_bytes(change(data)) if change else path.unlink()
            before = read_all(run)
            for script in READ_BY[pattern]:
                result, written = call(script, run, before)
                if result.returncode:  # without a summary it is the run that is not finished
                    check_refusal(result, str(run.parent) if (damage, file) == ("deleted", "summary.json") else file)
                elif (damage, file, script) not in SHOWS_LESS:
                    assert (result.stdout, written) == (undamaged[script][0].stdout, undamaged[script][1]), (
                        script,
                        file,
                    )
        finally:
            path.write_bytes(data)
    assert len(files) > 5 or "**" not in pattern
