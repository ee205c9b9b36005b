"""What ran: the command, what the config changes, versions, hardware, and what took how long."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from configs import base
from reports.run_page.recorded import RecordedRun
from training.run.reader import flatten_config

NOT_MEASURED = "not measured"
SCORE_COST = "part of the training step; scripts/benchmark.py step measures one without it (docs/performance.md)"


def list_changes(config: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The fields in which a config differs from configs/base.py: name, value, default."""
    defaults = flatten_config(json.loads(base.get_config().to_json_best_effort()))
    return [
        (name, format_value(value), format_value(defaults[name]) if name in defaults else "no such field")
        for name, value in flatten_config(config).items()
        if name not in defaults or value != defaults[name]
    ]


def format_value(value: Any) -> str:
    """A value of the config, as a reader knows it from the command line."""
    return "not set" if value is None else value if isinstance(value, str) else json.dumps(value)


def describe_environment(recorded: RecordedRun) -> list[tuple[str, str]]:
    """Code, versions and hardware, as pairs of a name and a text."""
    environment = recorded.run.environment
    packages = environment.get("packages") or {}
    devices = environment["devices"]
    resumed = [start["started"] for start in environment.get("resumed", [])]
    facts = {
        "started": environment.get("started"),
        "continued": ", ".join(resumed),
        "commit": environment.get("commit"),
        "Python": environment.get("python"),
        "packages": ", ".join(f"{name} {version}" for name, version in packages.items() if version),
        "system": environment.get("platform"),
        "devices": f"{len(devices)} × {devices[0]}" if devices else None,
        "CPU cores": environment["cpu_count"],
        "processes": environment.get("processes"),
    }
    return [(name, str(value)) for name, value in facts.items() if value]


def describe_time(recorded: RecordedRun) -> list[tuple[str, str]]:
    """Seconds of the run and of its parts, of what the rules and estimators measured besides, and the score's cost."""
    total = _add_up(recorded, "seconds")
    parts = {
        "in all epochs": total,
        "of these, training": _add_up(recorded, "train_seconds"),
        "of these, waiting for images": _add_up(recorded, "feed_seconds"),
        "of these, waiting for checkpoints": _add_up(recorded, "checkpoint_seconds"),
    }
    extra = sorted({name for record in recorded.run.history for name in record if name.endswith("_seconds")})
    parts |= {
        f"the signal {name.removesuffix('_seconds').replace('_', ' ')}": _add_up(recorded, name)
        for name in extra
        if name not in ("train_seconds", "feed_seconds", "checkpoint_seconds")
    }
    parts |= _add_up_estimates(recorded)
    shown = [(name, NOT_MEASURED if value is None else f"{value:,.1f} s") for name, value in parts.items()]
    return [*shown, ("the score", SCORE_COST)]


def _add_up(recorded: RecordedRun, field: str) -> float | None:
    values = [value for record in recorded.run.history if (value := record.get(field)) is not None]
    return sum(values) if values else None


def _add_up_estimates(recorded: RecordedRun) -> dict[str, float | None]:
    """Seconds by further estimator."""
    seconds: dict[str, float | None] = {}
    for record in recorded.run.history:
        for name, estimate in (record.get("estimates") or {}).items():
            spent = [value for field, value in estimate.items() if field.endswith("_seconds") and value is not None]
            key = f"the estimator {name}"
            seconds[key] = (seconds.get(key) or 0) + sum(spent) if spent else seconds.get(key)
    return seconds
