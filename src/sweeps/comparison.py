"""Whether a run is that of its sweep: its config is the sweep's, but for fields that cannot change what it records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.run.reader import flatten_config

MAY_DIFFER = {
    "dataset.path": "says where the data lie",
    "evaluate_path": "says where further test sets lie",
    "evaluate": "is about test sets that are evaluated after training",
    "wandb": "is about where a run is shown",
    "report": "is about where a run is shown",
    "eval_batch_size": "each image of a test set counts once, however many are evaluated at a time",
    "steps_per_dispatch": "is about speed",
    "keep_freed_memory": "is about speed",
    "checkpoint_steps": "is about what a crash may cost",
    "checkpoint_minutes": "is about what a crash may cost",
    "sharding": "is about which device holds what",
    "dataset.stream.threads": "is about speed",
    "dataset.stream.workers": "is about speed",
    "dataset.stream.buffer": "is about speed",
}
"""Fields, or sections, in which a run may differ from its sweep, as they cannot change what it records; and why.

Of `pretrained` it only matters whether it is set, and of `stopping.rules` which comes first and may stop training.
"""


def find_differences(expected: Mapping[str, Any], actual: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The fields in which two configs, as JSON holds them, differ in a way that matters: their values by name."""
    ours, theirs = _list_fields(expected), _list_fields(actual)
    return {
        field: (value, theirs.get(field))
        for field, value in ours.items()
        if theirs.get(field) != value and not may_differ(field)
    }


def may_differ(field: str) -> bool:
    """Whether a field is one of MAY_DIFFER, or in one of its sections."""
    return any(field == name or field.startswith(f"{name}.") for name in MAY_DIFFER)


def _list_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of all sections, as far as their values matter (see MAY_DIFFER)."""
    fields = flatten_config(config)
    return fields | {"pretrained": fields["pretrained"] is not None, "stopping.rules": fields["stopping.rules"][:1]}
