"""Interim."""

from evaluation import external, robustness


def open_requested(config, splits):
    return {**robustness.requested(config, splits), **external.requested(config, splits)}


def evaluate_checkpoints(workdir, config, rules, splits, test_sets):
    for name, test_set in test_sets.items():
        room = robustness if name in robustness.SETS else external
        room.measure(workdir, config, rules, splits, name, test_set)
