"""What the rules read: titles of the signals for figures and pages, and their values by epoch."""

from __future__ import annotations

import math

from training.run.reader import FinishedRun

SIGNALS = {
    "gwa": "GWA",
    "prediction_changes": "changed predictions",
    "prediction_churn": "changed predictions per misfit",
    "gradient_disparity": "gradient disparity",
    "train_loss": "training loss",
    "gradient_norm": "gradient norm",
    "head_gradient_norm": "gradient norm at the head",
    "prediction_entropy": "prediction entropy",
    "sharpness": "sharpness",
    "val_accuracy": "validation accuracy",
    "val_loss": "validation loss",
}
"""The titles of the signals, by the field that a rule reads first."""


def read_signal(run: FinishedRun, field: str) -> list[float]:
    """The values by epoch that the rules compare which read `field` first."""
    values = run.values(field)
    if field != "prediction_churn":
        return values
    misfits = [1 - accuracy for accuracy in run.values("train_accuracy")]
    return [churn / misfit if misfit > 0 else math.nan for churn, misfit in zip(values, misfits, strict=True)]
