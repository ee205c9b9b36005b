"""The bias of the online estimator: how far its scores, taken while the parameters move, lie from those at fixed ones.

The paper (appendix A.1, Fig. 6) states a mean and a maximum against the parameters at the start of an epoch, without
saying over what they run. Both readings are here: of the epoch's mean score, and of single samples.
"""

from __future__ import annotations

import numpy as np

from errors import UserError
from training.run.reader import FinishedRun
from training.run.records import write_json

REFERENCES = ("start", "middle")


def biases(online: np.ndarray, offline: np.ndarray) -> dict[str, dict[str, float]]:
    """The biases of a run without augmentation and dropout, over all epochs but the first.

    Args:
      online: `[epochs, N]`, the scores that training took in the steps of each epoch.
      offline: `[epochs, N]`, those at the parameters after each epoch, with which the next one starts.

    Returns:
      For the references `start` (parameters at the start of the epoch) and `middle` (mean of the scores at its start
      and its end, which stands for parameters halfway): mean and maximum over the epochs of |difference of the mean
      scores|, `mean_of_epoch`, `max_of_epoch`, and of the samples' mean |difference|, `mean_of_samples`,
      `max_of_samples`.
    """
    differences: dict[str, list[tuple[float, float]]] = {reference: [] for reference in REFERENCES}
    for scores, start, end in zip(online[1:], offline[:-1], offline[1:], strict=True):
        scores, start, end = (row.astype(np.float64) for row in (scores, start, end))
        for reference, row in (("start", start), ("middle", (start + end) / 2)):
            difference = scores - row
            differences[reference].append((abs(difference.mean()), np.abs(difference).mean()))
    result = {}
    for reference, pairs in differences.items():
        of_epoch, of_samples = np.array(pairs).T
        result[reference] = {
            "mean_of_epoch": float(of_epoch.mean()),
            "max_of_epoch": float(of_epoch.max()),
            "mean_of_samples": float(of_samples.mean()),
            "max_of_samples": float(of_samples.max()),
        }
    return result


def of_run(run: FinishedRun) -> dict[str, dict[str, float]]:
    """The biases of a finished run that has recorded the estimator `offline`; written to its bias.json.

    Raises:
      UserError: when it is without those scores, or augments its images.
    """
    if any(run.config["augment"].values()):
        raise UserError(f"{run.workdir} augments its images; offline scores are those of training only without")
    for name in ("scores.npy", "scores.offline.npy"):
        if not (run.workdir / name).exists():
            raise UserError(f"{run.workdir} is without its scores: no {name}; estimators must name offline")
    result = biases(*(np.load(run.workdir / name, mmap_mode="r") for name in ("scores.npy", "scores.offline.npy")))
    write_json(run.workdir / "bias.json", result)
    return result
