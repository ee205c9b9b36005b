"""Gradient-Weight Alignment: a score of generalisation from training data alone (arXiv 2510.25480).

`head_alignment` scores samples, `Moments` and `gwa_score` make the score of an epoch from them, and the rules choose
the checkpoint to keep from the epochs' scores. `find_label_issues` finds wrong labels. Needs only jax and numpy
and knows no trainer. JAX is imported with the first name that needs it: rules and label issues do without.
"""

import importlib
from typing import TYPE_CHECKING, Any

from gwa.label_issues import LabelIssues, find_label_issues
from gwa.rules import (
    RULES,
    BestValidation,
    Dissent,
    GradientDisparity,
    LabelWave,
    Last,
    LowestValidationLoss,
    MaxGWA,
    MinThenMaxGWA,
    Oracle,
    Rule,
    Verdict,
)

if TYPE_CHECKING:
    from gwa.alignment import head_alignment, head_gradient_norm
    from gwa.moments import Moments, gwa_score

__all__ = [
    "RULES",
    "BestValidation",
    "Dissent",
    "GradientDisparity",
    "LabelIssues",
    "LabelWave",
    "Last",
    "LowestValidationLoss",
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

_WITH_JAX = {"alignment": ("head_alignment", "head_gradient_norm"), "moments": ("Moments", "gwa_score")}


def __getattr__(name: str) -> Any:
    for module, names in _WITH_JAX.items():
        if name == module or name in names:
            loaded = importlib.import_module(f"gwa.{module}")
            return loaded if name == module else getattr(loaded, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_WITH_JAX, *__all__})
