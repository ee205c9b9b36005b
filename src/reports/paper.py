"""What the paper publishes, to stand beside our own results: nothing in this file was measured here.

Hölzl, Rueckert, Kaissis: Gradient-Weight Alignment as a Train-Time Proxy for Generalization in Classification Tasks,
NeurIPS 2025, arXiv 2510.25480. All values are second-hand: copied from notes that others made of the paper (for Table
1 from two that agree), not from its own pages. Accuracies are top-1 in %, means of 3 runs; the paper's standard
deviations are not known. Values that are missing here are unknown, not absent from the paper.
"""

from __future__ import annotations

from typing import NamedTuple


class Published(NamedTuple):
    """A value of the paper and where in it the value stands."""

    value: float
    source: str


def _second_hand(value: float, place: str) -> Published:
    return Published(value, f"{place} of the paper (second-hand)")


TABLE_1_COLUMNS = {
    "clean": "CIFAR-10",
    "aggre": "9 % wrong",
    "random1": "17 % wrong",
    "imagenet": "ImageNet",
    "imagenet_v2": "ImageNet-V2",
    "imagenet_real": "ImageNet ReaL",
}
"""What the columns of Table 1 are called here; the noise is CIFAR-10-N's `aggre_label` and `random_label1`."""

_TABLE_1_ROWS = {
    ("vit", "best_validation", 0.1): (81.10, 78.31, 75.23, 73.01, 60.01, 79.68),
    ("vit", "best_validation", 0.01): (79.99, 78.70, 74.75, 73.46, 60.52, 80.14),
    ("vit", "label_wave", 0.0): (81.00, 78.37, 75.02, 73.02, 60.05, 79.66),
    ("vit", "gradient_disparity", 0.0): (79.22, 77.56, 74.66, 67.22, 54.59, 74.25),
    ("vit", "max_gwa", 0.0): (81.57, 78.93, 75.70, 73.28, 60.53, 79.95),
    ("convnext", "max_gwa", 0.0): (89.73, 86.08, 82.55),
}

TABLE_1 = {
    (*row, column): _second_hand(value, "Table 1")
    for row, values in _TABLE_1_ROWS.items()
    for column, value in zip(TABLE_1_COLUMNS, values, strict=False)
}
"""Test accuracy by network (`vit`, `convnext`), rule, share of validation data, and column."""

GROUPS = ("blur", "digital", "noise", "weather")
"""The four groups of corruptions in CIFAR-10-C and ImageNet-C, in the order of the paper."""

_TABLE_2_VALIDATION = {"cifar10_c": (81.19, 79.42, 77.08, 79.25), "imagenet_c": (55.78, 64.23, 62.43, 60.06)}
_TABLE_2_GAINS = {
    ("cifar10_c", "best_validation", 0.1): (0.0, 0.0, 0.0, 0.0),
    ("cifar10_c", "best_validation", 0.01): (-0.88, -1.09, -0.68, -1.04),
    ("cifar10_c", "max_gwa", 0.0): (0.52, 0.53, 0.60, 0.56),
    ("imagenet_c", "best_validation", 0.1): (0.0, 0.0, 0.0, 0.0),
    ("imagenet_c", "best_validation", 0.01): (0.59, 0.44, 0.43, 0.57),
    ("imagenet_c", "max_gwa", 0.0): (0.57, 0.61, 0.93, 0.60),
}

TABLE_2 = {
    (*row, group): _second_hand(round(base + gain, 2), "Table 2")
    for row, gains in _TABLE_2_GAINS.items()
    for group, base, gain in zip(GROUPS, _TABLE_2_VALIDATION[row[0]], gains, strict=True)
}
"""Accuracy of the ViT on corrupted images, by data set, rule, share of validation data, and group of corruptions.

The paper gives the rows after the first as differences from it; they are added up here. Which severities it averages is
not known; the level (blur above the clean accuracy) suggests low ones.
"""

TABLE_3 = {
    name: _second_hand(value, "Table 3")
    for name, value in {
        "ImageNet": 84.15,
        "ImageNet-V2": 74.32,
        "ImageNet ReaL": 89.05,
        "iNaturalist 2018": 73.73,
        "Places365": 58.78,
    }.items()
}
"""Test accuracy of the ViT-B/16, fine-tuned from ImageNet-21k, that GWA chose; the other rows are unknown."""

FIGURE_3 = {
    (family, data, coefficient): _second_hand(value, "Fig. 3")
    for (family, data), values in {
        ("convnext", "cifar10"): (0.99, 0.97),
        ("convnext", "cifar10_c"): (0.99, 0.96),
        ("vit", "cifar10"): (0.98, 0.93),
        ("vit", "cifar10_c"): (0.94, 0.92),
    }.items()
    for coefficient, value in zip(("pearson", "spearman"), values, strict=True)
}
"""Correlation of the largest mean alignment of a training with test accuracy, over networks of a family."""

ESTIMATOR_BIAS = {
    (learning_rate, statistic): _second_hand(value, "Appendix A.1, Fig. 6")
    for learning_rate, values in {0.1: (0.04, 0.12), 0.01: (0.027, 0.08), 0.001: (0.020, 0.05)}.items()
    for statistic, value in zip(("mean", "max"), values, strict=True)
}
"""Bias of the online estimator of GWA against the weights at the start of the epoch, by learning rate."""
