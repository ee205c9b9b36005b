"""Stopping rules: which epoch to keep, and when to stop, judged from the records of the epochs so far.

A rule works like an optax transformation. `state = rule.init()`, then after every epoch `state, verdict =
rule.update(state, record)`; `rule.select(history)` is the fold of that over a finished history. A record is a mapping
that holds `epoch` (counted from 1), `progress` (the share of the planned steps done, in (0, 1]) and the fields that the
rule names in `needs`. A field that is absent, None or NaN is not eligible, nor is an epoch with a true `partial`, of
which only some samples were seen.
"""

from gwa.rules.baselines import (
    ChurnPerMisfit,
    ConsecutiveGradientDisparity,
    GradientDisparity,
    HaltingRule,
    LabelWave,
)
from gwa.rules.dissent import Dissent, HardDissent
from gwa.rules.gwa_rules import MaxBoundedGWA, MaxGWA, MinThenMaxGWA
from gwa.rules.rule import BestValidation, Last, LowestValidationLoss, Oracle, Record, Rule, Verdict
from gwa.rules.training_signals import (
    LowestGradientNorm,
    LowestHeadGradientNorm,
    LowestPredictionEntropy,
    LowestSharpness,
    LowestTrainLoss,
    TrainingSignal,
)

#: The class of every rule by its name, as it stands in a config and in `summary.json`.
RULES: dict[str, type[Rule]] = {
    rule.name: rule
    for rule in (
        MaxGWA,
        MaxBoundedGWA,
        MinThenMaxGWA,
        BestValidation,
        LowestValidationLoss,
        LabelWave,
        GradientDisparity,
        ConsecutiveGradientDisparity,
        LowestTrainLoss,
        LowestGradientNorm,
        LowestHeadGradientNorm,
        LowestPredictionEntropy,
        ChurnPerMisfit,
        Dissent,
        HardDissent,
        LowestSharpness,
        Last,
        Oracle,
    )
}

__all__ = [
    "RULES",
    "BestValidation",
    "ChurnPerMisfit",
    "ConsecutiveGradientDisparity",
    "Dissent",
    "GradientDisparity",
    "HaltingRule",
    "HardDissent",
    "LabelWave",
    "Last",
    "LowestGradientNorm",
    "LowestHeadGradientNorm",
    "LowestPredictionEntropy",
    "LowestSharpness",
    "LowestTrainLoss",
    "LowestValidationLoss",
    "MaxBoundedGWA",
    "MaxGWA",
    "MinThenMaxGWA",
    "Oracle",
    "Record",
    "Rule",
    "TrainingSignal",
    "Verdict",
]
