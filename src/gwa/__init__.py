"""Gradient-Weight Alignment: a score of generalisation from training data alone (arXiv 2510.25480).

`head_alignment` scores samples, `Moments` and `gwa_score` make the score of an epoch from them, and the rules choose
the checkpoint to keep from the epochs' scores. `find_label_issues` finds wrong labels. Needs only jax and numpy
and knows no trainer.
"""

from gwa.alignment import head_alignment, head_gradient_norm
from gwa.label_issues import LabelIssues, find_label_issues
from gwa.moments import Moments, gwa_score
from gwa.rules import (
    RULES,
    BestValidation,
    GradientDisparity,
    LabelWave,
    Last,
    MaxGWA,
    MinThenMaxGWA,
    Oracle,
    Rule,
    Verdict,
)

__all__ = [
    "RULES",
    "BestValidation",
    "GradientDisparity",
    "LabelIssues",
    "LabelWave",
    "Last",
    "MaxGWA",
    "MinThenMaxGWA",
    "Moments",
    "Oracle",
    "Rule",
    "Verdict",
    "find_label_issues",
    "gwa_score",
    "head_alignment",
    "head_gradient_norm",
]
