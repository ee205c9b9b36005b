"""Estimates at the checkpoints of a finished run."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from configs import digits
from errors import UserError
from evaluation import estimates
from scripts import estimate as script
from training import loop

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """On 150 images of four patterns and noise; the digits would cost the import of scikit-learn."""
    rng = np.random.default_rng(0)
    patterns, labels = rng.uniform(0, 255, (4, 8, 8, 1)), np.arange(150) % 4
    images = np.clip(patterns[labels] + rng.normal(0, 90, (150, 8, 8, 1)), 0, 255).astype(np.uint8)
    source = tmp_path_factory.mktemp("data") / "source.npz"
    np.savez(source, images=images, labels=labels)
    config = digits.get_config()
    config.epochs = 3
    config.dataset.update({"name": "arrays", "path": str(source)})
    config.network.depths, config.network.widths, config.network.patch_size = (1,), (8,), 2
    config.augment.flip = True
    config.stopping.rules = ("max_gwa", "last")
    config.estimators = ("offline", "offline_train", "layers=head/kernel")
    workdir = tmp_path_factory.mktemp("runs") / "run"
    return workdir, loop.train(config, workdir)


def test_estimates_are_those_that_training_recorded(run, monkeypatch, capsys):
    workdir, summary = run
    options = ["--estimator=offline", "--estimator=layers=head/.*", "--estimator=offline_train"]
    monkeypatch.setattr(sys, "argv", ["estimate.py", str(workdir), *options])
    script.main()
    history = [json.loads(line) for line in (workdir / "history.jsonl").read_text().splitlines()]
    written = json.loads((workdir / "estimates.json").read_text())
    lines = iter(capsys.readouterr().out.splitlines())
    for rule in ("max_gwa", "last"):
        epoch = written[rule]["epoch"]
        assert epoch == summary["rules"][rule]["epoch"]
        record = history[epoch - 1]
        assert written[rule]["online"] == {name: record[name] for name in ("gwa", "alignment_mean", "excess_kurtosis")}
        assert list(written[rule]["estimates"]) == [
            "offline",
            "layers/head/bias",
            "layers/head/kernel",
            "offline_train",
        ]
        for name, values in written[rule]["estimates"].items():
            line = next(lines)
            assert line.startswith(f"{rule}  epoch {epoch}  {name}:  GWA ")
            if name in record["estimates"]:
                for field in ("gwa", "alignment_mean", "excess_kurtosis"):
                    assert values[field] == pytest.approx(record["estimates"][name][field], rel=1e-4)
                online = f"mean {values['alignment_mean']:.4f} (online {record['alignment_mean']:.4f})"
                assert online in line
    assert not list(lines)


def test_one_checkpoint(run):
    results = estimates.estimate(run[0], ["full"], ["last"])
    assert {rule: (result["epoch"], list(result["estimates"])) for rule, result in results.items()} == {
        "last": (3, ["full"])
    }


@pytest.mark.parametrize(
    ("estimators", "rules", "message"),
    [
        (["offline", "ofline"], [], "there is no estimator 'ofline'"),
        (["textbook"], [], "steps of training alone"),
        (["layers=stem"], [], "no parameter's path matches 'stem'"),
        (["offline"], ["oracle"], "no checkpoint 'oracle'; it has max_gwa, last"),
    ],
)
def test_what_is_not_there_is_refused(run, estimators, rules, message):
    with pytest.raises(UserError, match=message):
        estimates.estimate(run[0], estimators, rules)


def test_other_data_are_refused(run):
    workdir, _ = run
    labels = dict(np.load(workdir / "labels.npz"))
    np.savez(workdir / "labels.npz", **(labels | {"labels": labels["labels"][::-1]}))
    with pytest.raises(UserError, match=r"no longer those of its labels\.npz"):
        estimates.estimate(workdir, ["offline"])
    np.savez(workdir / "labels.npz", **labels)


def test_a_mistake_is_one_line(tmp_path):
    command = [sys.executable, "scripts/estimate.py", str(tmp_path), "--estimator=offline"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr == f"estimate.py: {tmp_path} holds no finished run\n"
