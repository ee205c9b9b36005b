"""How well each score finds the wrong labels of a run, judged by the clean ones, and the table over all judged runs.

Every score is taken from the same runs. High means suspect. What a run has to record besides alignments is
`config.record = ("loss", "margin", "error_norm")`. Where `scripts/cross_validate.py` has trained a run again without
each fold, the cleanlab package judges its labels too, by what the networks say of samples that they have not seen.
"""

from __future__ import annotations

import dataclasses
import importlib
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from datasets.label_csv import write_csv
from errors import UserError
from gwa import RULES
from gwa.label_issues import aggregate_alignment, find_label_issues
from reports.cross_validation import read_probabilities
from reports.judging import Difference, Mean
from reports.label_table import tabulate_label_issues
from reports.layout import Cell, Line, Table
from reports.regret import format_difference
from reports.sweep_runs import find_sweep_runs
from training.run.reader import FinishedRun, load_array, read_derived
from training.sample_values import PREFIX

FILE = "detection.json"
SWEEP = "regimes"
DEFAULT = "alignment, mean by class"  # what gwa.find_label_issues ranks by
EARLY = 10  # epochs; EL2N is meant for the beginning of training
MEASURES = {"auroc": "AUROC", "average_precision": "average precision", "precision": "precision"}

TEXT = f"""Runs of `configs/sweeps/{SWEEP}.py` with wrong labels (seeds 0, 1 and 2), ranked by each score and compared \
with the clean labels. In %: mean ± standard error (number of runs). Precision is that of as many of the most \
suspicious labels as there are wrong ones. The columns on the right are AUROC by the kind of wrong labels. *By class*: \
minus the mean of the observed class. *Chosen*: the epoch that `max_gwa` chose. *cleanlab*: by the probabilities of \
five networks, each trained without the fold that it judges; only some runs have them, paired in the second table."""

PAIRED = f"""AUROC of each score minus that of *{DEFAULT}* on the same runs, in points: mean of the differences, their \
95 % interval (BCa bootstrap), p of the sign-flip test, and (number of runs)."""

FLAGS = {"share": "flagged", "precision": "precision", "recall": "recall"}

FLAG_TEXT = """How many labels each method flags without knowing how many are wrong. In %: mean ± standard error \
(number of runs). Precision is the share of wrong labels among the flagged ones, of the runs in which some \
are flagged; recall is the share of flagged labels among the wrong ones."""


@dataclasses.dataclass(frozen=True)
class Recorded:
    """What a run has recorded of its training samples.

    Attributes:
      alignment, loss, margin, error_norm: float32 `[epochs, N]`.
      predictions: integers `[epochs, N]`.
      labels: int32 `[N]`, observed.
      chosen: the epoch that `max_gwa` keeps, from 1; the last where it keeps none.
      probabilities: float32 `[N, classes]`, of networks that have not seen the sample; None without cross-validation.
    """

    alignment: np.ndarray
    loss: np.ndarray
    margin: np.ndarray
    error_norm: np.ndarray
    predictions: np.ndarray
    labels: np.ndarray
    chosen: int
    probabilities: np.ndarray | None = None


def count_forgetting(recorded: Recorded) -> np.ndarray:
    """How often a sample was predicted as labelled in an epoch and not in the next (Toneva et al. 2019).

    One that never was counts as forgotten in every epoch.
    """
    right = recorded.predictions == recorded.labels
    return np.where(right.any(axis=0), np.sum(right[:-1] & ~right[1:], axis=0), len(right))


def center(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Values `[N]` minus the mean of their observed class."""
    sums, counts = np.bincount(labels, values), np.bincount(labels)
    return values - (sums / np.maximum(counts, 1))[labels]


SCORES: dict[str, Callable[[Recorded], np.ndarray]] = {
    DEFAULT: lambda run: -aggregate_alignment(run.alignment, run.labels),
    "alignment, mean": lambda run: -run.alignment.mean(axis=0),
    "alignment, mean by class until chosen": lambda run: -aggregate_alignment(run.alignment[: run.chosen], run.labels),
    "alignment, mean until chosen": lambda run: -run.alignment[: run.chosen].mean(axis=0),
    "alignment, chosen epoch": lambda run: -run.alignment[run.chosen - 1],
    "alignment, last epoch": lambda run: -run.alignment[-1],
    "loss, mean by class": lambda run: center(run.loss.mean(axis=0), run.labels),
    "loss, mean": lambda run: run.loss.mean(axis=0),
    "loss, last epoch": lambda run: run.loss[-1],
    "margin, mean by class": lambda run: -center(run.margin.mean(axis=0), run.labels),
    "margin, mean (AUM)": lambda run: -run.margin.mean(axis=0),
    f"error norm, mean of {EARLY} epochs (EL2N)": lambda run: run.error_norm[:EARLY].mean(axis=0),
    "forgetting events": count_forgetting,
}
"""Each score `[N]` by its name in the table."""

CROSS_VALIDATED: dict[str, Callable[[Recorded], np.ndarray]] = {
    "cleanlab, self-confidence": lambda run: -_rate_by_cleanlab(run, "self_confidence"),
    "cleanlab, normalized margin": lambda run: -_rate_by_cleanlab(run, "normalized_margin"),
}
"""The scores of runs that have probabilities."""

FLAGGED = {"alignment": DEFAULT, "loss": "loss, mean by class", "margin": "margin, mean (AUM)"}
"""The scores for which `write_flagged` writes a file, by its name."""
CLEANLAB = "cleanlab"  # its file is for the first of CROSS_VALIDATED
OURS = "gwa.find_label_issues"


def judge_detection(run: FinishedRun) -> dict[str, Any]:
    """What `detection.json` says.

    Returns:
      `samples` and `wrong`, numbers; `scores`, for each of SCORES, and of CROSS_VALIDATED where there are
      probabilities, the three MEASURES as shares; `flagged`, for each method that decides by itself how many labels
      to flag, the `share` of the samples that it flags, and `precision` and `recall`, None where there are none.

    Raises:
      UserError: when the run has not recorded what this needs, knows no clean labels, or has no wrong ones.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    arrays = load_array(run.workdir, "labels.npz")
    if "clean_labels" not in arrays:
        raise UserError(f"{run.workdir} knows no clean labels, so that nothing can be judged by them")
    wrong = arrays["labels"] != arrays["clean_labels"]
    if not wrong.any():
        raise UserError(f"{run.workdir} has no wrong labels to find")
    recorded = _read_recorded(run, arrays["labels"])
    count, judged = int(wrong.sum()), {}
    for name, score in _list_scores(recorded).items():
        suspicion = np.asarray(score(recorded), np.float64)
        worst = np.argsort(-suspicion, kind="stable")[:count]
        judged[name] = {
            "auroc": float(roc_auc_score(wrong, suspicion)),
            "average_precision": float(average_precision_score(wrong, suspicion)),
            "precision": float(wrong[worst].mean()),
        }
    flagged = {OURS: find_label_issues(recorded.alignment, recorded.labels).is_label_issue}
    if recorded.probabilities is not None:
        flagged[CLEANLAB] = _flag_by_cleanlab(recorded)
    return {
        "samples": len(wrong),
        "wrong": count,
        "scores": judged,
        "flagged": {name: _judge_flagged(mask, wrong) for name, mask in flagged.items()},
    }


def write_flagged(run: FinishedRun) -> None:
    """Writes `flagged/<name>.csv` for each of FLAGGED, `random` and `truth`, as `dataset.labels` reads it.

    Each flags as many labels as there are wrong ones. `truth` flags these, and suggests the clean labels. Where there
    are probabilities, `cleanlab` is one more, and suggests the most probable classes.

    Raises:
      UserError: as `judge_detection`.
    """
    arrays = load_array(run.workdir, "labels.npz")
    labels, clean = arrays["labels"], arrays["clean_labels"]
    recorded, wrong = _read_recorded(run, labels), labels != clean
    suspicions = {name: SCORES[score](recorded) for name, score in FLAGGED.items()}
    suspicions |= {"random": np.random.default_rng(run.config["seed"]).random(len(labels)), "truth": wrong * 1.0}
    suggested = {"truth": clean}
    if recorded.probabilities is not None:
        suspicions[CLEANLAB] = next(iter(CROSS_VALIDATED.values()))(recorded)
        suggested[CLEANLAB] = recorded.probabilities.argmax(axis=1).astype(clean.dtype)
    columns, names = tabulate_label_issues(run.workdir).columns, arrays["class_names"].astype(object)
    (run.workdir / "flagged").mkdir(exist_ok=True)
    for name, suspicion in suspicions.items():
        flagged = np.zeros(len(labels), bool)
        flagged[np.argsort(-suspicion, kind="stable")[: wrong.sum()]] = True
        changed = {"is_label_issue": flagged}
        if name in suggested:
            changed |= {"predicted_label": suggested[name], "predicted_class": names[suggested[name]]}
        write_csv(run.workdir / "flagged" / f"{name}.csv", {**columns, **changed})


def _read_recorded(run: FinishedRun, labels: np.ndarray) -> Recorded:
    names = ("loss", "margin", "error_norm")
    further = {name: load_array(run.workdir, f"{PREFIX}{name}.npy".replace("/", ".")) for name in names}
    alignment, predictions = run.load_scores(), load_array(run.workdir, "predictions.npy")
    if missing := int(np.isnan(alignment).any(axis=0).sum()):
        raise UserError(f"{run.workdir}: {missing} samples lack a score in some epoch; judging needs all of them")
    chosen = RULES["max_gwa"]().select(run.history) or len(run.history)
    probabilities = read_probabilities(run)
    return Recorded(
        alignment, predictions=predictions, labels=labels, chosen=chosen, probabilities=probabilities, **further
    )


def _list_scores(recorded: Recorded) -> dict[str, Callable[[Recorded], np.ndarray]]:
    return SCORES if recorded.probabilities is None else {**SCORES, **CROSS_VALIDATED}


def _rate_by_cleanlab(recorded: Recorded, method: str) -> np.ndarray:
    rank = _import_cleanlab("rank")
    return np.asarray(rank.get_label_quality_scores(recorded.labels, np.asarray(recorded.probabilities), method=method))


def _flag_by_cleanlab(recorded: Recorded) -> np.ndarray:
    """bool `[N]`, by cleanlab's defaults."""
    return np.asarray(
        _import_cleanlab("filter").find_label_issues(recorded.labels, np.asarray(recorded.probabilities), n_jobs=1)
    )


def _import_cleanlab(module: str) -> Any:
    try:
        return importlib.import_module(f"cleanlab.{module}")
    except ImportError:
        raise UserError(
            "a run that was cross-validated is judged by cleanlab too, which is not installed; "
            "uv run --with cleanlab==2.9.0 scripts/judge_detection.py brings it"
        ) from None


def _judge_flagged(flagged: np.ndarray, wrong: np.ndarray) -> dict[str, float | None]:
    found = int(np.sum(flagged & wrong))
    return {
        "share": float(flagged.mean()),
        "precision": found / int(flagged.sum()) if flagged.any() else None,
        "recall": found / int(wrong.sum()),
    }


def tabulate_detection(runs: Sequence[FinishedRun]) -> list[Table]:
    """How well each score finds wrong labels, over the judged runs of the sweep; paired with the default; and flags."""
    judged = [
        (str(cell["labels"]), content)
        for cell, run in find_sweep_runs(runs, SWEEP)
        if (content := read_derived(run.workdir, FILE))
    ]
    if not judged:
        return []
    kinds = dict.fromkeys(kind for kind, _ in judged)
    rows: list[Line] = []
    differences: list[Line] = []
    for name in (*SCORES, *CROSS_VALIDATED):
        having = [(kind, content["scores"]) for kind, content in judged if name in content["scores"]]
        if not having:
            continue
        everywhere = [scores for _, scores in having]
        parts = [*([everywhere] * len(MEASURES)), *([s for k, s in having if k == kind] for kind in kinds)]
        measures = [*MEASURES, *["auroc"] * len(kinds)]
        cells = [_average(part, name, measure) for part, measure in zip(parts, measures, strict=True)]
        rows.append((name, *cells))
        if name != DEFAULT:
            differences.append((name, format_difference(Difference.of([100 * _subtract(s, name) for s in everywhere]))))
    columns = ("score", *MEASURES.values(), *kinds)
    tables = [
        Table("detection", "Finding wrong labels", TEXT, columns, tuple(rows), standard_errors=True, decimals=1),
        Table("detection", "Finding wrong labels: paired", PAIRED, ("score", "AUROC"), tuple(differences)),
    ]
    return tables + _tabulate_flagged([(kind, content) for kind, content in judged if "flagged" in content], kinds)


def _tabulate_flagged(judged: Sequence[tuple[str, Mapping[str, Any]]], kinds: Iterable[str]) -> list[Table]:
    rows: list[Line] = []
    for method, kind in itertools.product((OURS, CLEANLAB), kinds):
        contents = [content for of_kind, content in judged if of_kind == kind and method in content["flagged"]]
        flagged = [content["flagged"][method] for content in contents]
        if not contents:
            continue
        measured = {
            "wrong": [content["wrong"] / content["samples"] for content in contents],
            **{name: [each[name] for each in flagged if each[name] is not None] for name in FLAGS},
        }
        rows.append((method, kind, *(Cell(Mean.of(100 * value for value in values)) for values in measured.values())))
    if not rows:
        return []
    columns = ("method", "labels", "wrong", *FLAGS.values())
    return [Table("detection", "Flagging wrong labels", FLAG_TEXT, columns, tuple(rows), 2, True, 1)]


def _average(judged: Sequence[Mapping[str, Any]], name: str, measure: str) -> Cell:
    return Cell(Mean.of(100 * scores[name][measure] for scores in judged))


def _subtract(scores: Mapping[str, Any], name: str) -> float:
    return float(scores[name]["auroc"] - scores[DEFAULT]["auroc"])
