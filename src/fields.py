"""What the fields of a config may hold and when they matter; `configs/base.py` says both for every field.

This file imports nothing heavy, so that a mistake in a config is answered at once.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict, config_dict

from errors import UserError
from extensions import is_external

_LONGEST, _LONGEST_PART = 4000, 255  # bytes of a text, and between its slashes; file systems take no longer names
_KEY = re.compile(r"sk-(?=\S*\d)\S{6,}|sk-\S{20,}|hf_\w{30,}|gh[pousr]_\w{30,}|glpat-\S{20,}|AKIA[0-9A-Z]{16}")
_HOLDS_KEY = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)$")  # names of environment variables


class Kind(NamedTuple):
    """A test of a value, the words for what passes it, its type, and the names that it may be."""

    fits: Callable[[Any], bool]
    right: str
    type: type = object
    names: tuple[str, ...] = ()


class Condition(NamedTuple):
    """What must hold of a config for a field to matter, as a test and in words."""

    holds: Callable[[Any], bool]
    words: str


class Field(NamedTuple):
    """A field: its default, what it may hold, and on what it depends whether it matters (None: it always does)."""

    default: Any
    kind: Kind
    needs: Condition | None = None


Section = Mapping[str, Any]
"""Fields and further sections by name; a section without any is open: it takes whatever fields a config gives it."""


def number(interval: str) -> Kind:
    """A number in an interval such as `(0, 1]`; no NaN, and nothing infinite."""
    contains = _contains(interval)
    return Kind(lambda value: _is_a(value, int, float) and contains(value), f"a number in {interval}", float)


def whole(interval: str) -> Kind:
    """A whole number in an interval such as `[1, 100]`."""
    contains = _contains(interval)
    return Kind(lambda value: _is_a(value, int) and contains(value), f"a whole number in {interval}", int)


def one_of(*names: str) -> Kind:
    """One of these texts."""
    return Kind(lambda value: isinstance(value, str) and value in names, f"one of {', '.join(names)}", str, names)


def one_of_or_external(*names: str) -> Kind:
    """One of these texts, or `module:Name` for something from outside."""
    return Kind(
        lambda value: isinstance(value, str) and (value in names or (is_external(value) and TEXT.fits(value))),
        f"one of {', '.join(names)}, or module:Name",
        str,
        names,
    )


def several(kind: Kind, least: int = 0, distinct: bool = True) -> Kind:
    """A tuple of at least so many values of a kind, none of them twice if they are to be distinct."""

    def fits(value: Any) -> bool:
        if not isinstance(value, tuple) or len(value) < least or not all(map(kind.fits, value)):
            return False
        return not distinct or len(set(value)) == len(value)

    amount = f"a tuple of {least} or more" if least else "a tuple"
    return Kind(fits, f"{amount}, of which each is {kind.right}" + ", none twice" * distinct, tuple, kind.names)


def optional(kind: Kind) -> Kind:
    """None, or a value of a kind."""
    return kind._replace(fits=lambda value: value is None or kind.fits(value), right=f"{kind.right}, or None")


def _is_text(value: Any) -> bool:
    if not isinstance(value, str) or not value.strip() or any(ord(c) < 32 or ord(c) == 127 for c in value):
        return False
    encoded = value.encode(errors="surrogatepass")
    return len(encoded) <= _LONGEST and all(len(part) <= _LONGEST_PART for part in encoded.split(b"/"))


def _is_a(value: Any, *types: type) -> bool:
    return isinstance(value, types) and not isinstance(value, bool)


def _contains(interval: str) -> Callable[[Any], bool]:
    """Whether a number lies in an interval; its ends are finite."""
    found = re.fullmatch(r"([\[(])(\S+), (\S+)([\])])", interval)
    assert found, interval
    low, high = float(found[2]), float(found[3])
    assert math.isfinite(high - low), interval
    with_low, with_high = found[1] == "[", found[4] == "]"
    return lambda value: (low <= value if with_low else low < value) and (value <= high if with_high else value < high)


TEXT = Kind(_is_text, "text: not empty, without line breaks, no longer than a file name may be", str)
SWITCH = Kind(lambda value: isinstance(value, bool), "True or False", bool)
SHARE = number("[0, 1)")
COUNT = whole("[1, 1000000]")
COUNT_OR_0 = whole("[0, 1000000]")


def where(path: str, *values: Any) -> Condition:
    """A field has one of these values."""
    return Condition(lambda config: read(config, path) in values, f"{path}={' or '.join(map(str, values))}")


def unless(path: str, *values: Any) -> Condition:
    """A field has none of these values."""
    return Condition(lambda config: read(config, path) not in values, f"{path} other than {' and '.join(values)}")


def given(path: str) -> Condition:
    """A field is set to something: not None, 0, False or empty."""
    return Condition(lambda config: bool(read(config, path)), path)


def named(path: str, *names: str) -> Condition:
    """A tuple names at least one of these."""
    words = f"{' or '.join(names)} in {path}"
    return Condition(lambda config: any(name in read(config, path) for name in names), words)


def either(*conditions: Condition) -> Condition:
    """At least one of these holds."""
    words = " or ".join(condition.words for condition in conditions)
    return Condition(lambda config: any(condition.holds(config) for condition in conditions), words)


def both(*conditions: Condition) -> Condition:
    """All of these hold."""
    words = " and ".join(condition.words for condition in conditions)
    return Condition(lambda config: all(condition.holds(config) for condition in conditions), words)


def read(config: Any, path: str) -> Any:
    """The value at a path such as `optimizer.learning_rate`."""
    for name in path.split("."):
        config = config[name]
    return config


def walk(section: Section, prefix: str = "") -> Iterator[tuple[str, Field]]:
    """Every field of a section and of those in it, with its path."""
    for name, entry in section.items():
        if isinstance(entry, Field):
            yield prefix + name, entry
        else:
            yield from walk(entry, f"{prefix}{name}.")


def defaults(section: Section) -> dict[str, Any]:
    """The defaults of a section's fields, as a ConfigDict takes them."""
    return {
        name: defaults(entry)
        if not isinstance(entry, Field)
        else config_dict.placeholder(entry.kind.type)
        if entry.default is None
        else entry.default
        for name, entry in section.items()
    }


def check(config: Any, section: Section, prefix: str = "") -> None:
    """Refuses a config with a field too many or too few, or with a value that its field may not have.

    Raises:
      UserError: it names the field, its value, and what would be right.
    """
    for name in config if section else ():
        if name not in section:
            close = difflib.get_close_matches(str(name), section, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise UserError(f"the config has no field {prefix}{name}{hint}")
    for name, entry in section.items():
        path = prefix + name
        if name not in config:
            raise UserError(f"the config lacks {path}; set the fields of a section one by one")
        value = config[name]
        if not isinstance(entry, Field):
            if not isinstance(value, (Mapping, ConfigDict)):
                raise UserError(f"{path} is {show(value)}; it must be a section of fields")
            check(value, entry, f"{path}.")
        elif not entry.kind.fits(value):
            raise UserError(explain(path, value, entry.kind))
    for name, value in config.items():
        if any(map(_is_key, value if isinstance(value, tuple | list) else (value,))):
            raise UserError(
                f"{prefix}{name} looks like a secret key, and configs are stored with their runs; leave it in an "
                "environment variable such as WANDB_API_KEY"
            )


def explain(path: str, value: Any, kind: Kind) -> str:
    """That a field has a value that it may not have, and what would be right."""
    entries = value if isinstance(value, tuple) else (value,)
    wrong = next((entry[:100] for entry in entries if isinstance(entry, str) and entry not in kind.names), "")
    close = difflib.get_close_matches(wrong, kind.names, n=1)
    return f"{path} is {show(value)}; it must be {kind.right}" + (f"; did you mean {close[0]}?" if close else "")


def show(value: Any) -> str:
    """A value for a message, cut to a length that a line can hold."""
    if isinstance(value, int) and value.bit_length() > 128:
        return "a number of more than 38 digits"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text)} characters)"


def find_idle(config: Any, section: Section) -> list[str]:
    """One line for each field that was changed from its default and yet does nothing in a run of this config."""
    return [
        f"{path}={read(config, path)} has no effect on this run: it needs {field.needs.words}"
        for path, field in walk(section)
        if field.needs and read(config, path) != field.default and not field.needs.holds(config)
    ]


def _is_key(value: Any) -> bool:
    """Whether a value looks like an API key, or holds one that stands in an environment variable."""
    if not isinstance(value, str):
        return False
    secrets = (secret for name, secret in os.environ.items() if _HOLDS_KEY.search(name) and len(secret) >= 8)
    return bool(_KEY.fullmatch(value)) or any(secret in value for secret in secrets)
