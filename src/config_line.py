"""A config from a command line: flags override fields, accept None, and are checked."""

import ast
import difflib
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

import repository  # noqa: F401  (configs lie in the repository's root)

import fields
from configs import base
from errors import UserError, config_mistake


def parse_config(arguments: Sequence[str]) -> ConfigDict:
    """The config that `--config=FILE` and `--config.field=value` make, with all its fields checked.

    Raises:
      UserError: the file cannot be read, or there is no such variant or field, or a field may not have such a value.
    """
    values, command = flags.FlagValues(), ["train.py", *arguments]
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=command)
    return check_flags(values, command)[0]


def check_flags(values: flags.FlagValues, command: Sequence[str]) -> tuple[ConfigDict, list[str]]:
    """Parses a command line and checks the config that it makes; returns that and the words that are no flags.

    Raises:
      UserError: as `parse_config`, or there is no such flag.
    """
    try:
        rest = values(command)
        config = values.config
        if config is not None:
            _ = config.is_locked  # a config that cannot be read is only noticed when it is
            fields.check(config, base.FIELDS)
    except flags.UnrecognizedFlagError as error:
        raise UserError(_explain_flag(error.flagname, values)) from None
    except UserError:
        raise
    except Exception as error:  # whatever the user's own config file raises
        if mistake := _explain_file(command, error):
            raise UserError(mistake) from None
        raise UserError(_explain_field(command) or config_mistake(error)) from error
    return config, rest[1:]


def _explain_file(command: Sequence[str], error: Exception) -> str | None:
    """That there is no such config file, or no variants in it; None if that is not the mistake."""
    named = [match[1] for word in command if (match := re.match(r"--config=(.*)", word))]
    file, _, variant = named[-1].partition(":") if named else ("", "", "")
    if file and not pathlib.Path(file).is_file():
        return f"--config: there is no file {file} in {pathlib.Path.cwd()}"
    if variant and "get_config() takes 0 positional arguments" in str(error):
        return f"--config: {file} has no variants, so {variant!r} means nothing"
    return None


def _explain_field(command: Sequence[str]) -> str | None:
    """That a flag names no field, and the one that may be meant; None if all do."""
    paths = [path for path, _ in fields.walk(base.FIELDS)]
    for word in command:
        match = re.match(r"--(?:no)?config\.([^=]+)", word)
        if match and match[1] not in paths and not match[1].startswith("network.options."):
            close = difflib.get_close_matches(match[1], paths, n=1)
            return f"the config has no field {match[1]}" + (f"; did you mean {close[0]}?" if close else "")
    return None


def _explain_flag(name: str, values: flags.FlagValues) -> str:
    """That there is no such flag, and the one that may be meant: also of `--confg.epochs`."""
    first, dot, field = name.partition(".")
    close = difflib.get_close_matches(first, list(values), n=1)
    return f"there is no flag --{name}" + (f"; did you mean --{close[0]}{dot}{field}?" if close else "")


class Value(flags.ArgumentParser):
    """Reads the value of a `--config.` flag: None, or whatever another function reads from a text."""

    def __init__(self, read: Callable[[str], Any], right: str):
        """Takes the function, which raises ValueError, and the words for what it reads."""
        self._read, self._right = read, right

    def parse(self, argument: Any) -> Any:
        """The value of a text; the default of a field comes as it is."""
        if not isinstance(argument, str) or argument == "None":
            return None if argument == "None" else argument
        try:
            return self._read(argument)
        except ValueError:
            raise ValueError(f"it must be {self._right}") from None

    def flag_type(self) -> str:
        """The words for what it reads."""
        return self._right


def read_tuple(text: str) -> tuple[Any, ...]:
    """A tuple from a text as Python writes it, or with bare words: `(1, 2)`, `max_gwa`, `max_gwa,last`.

    Raises:
      ValueError: its brackets do not match.
    """
    try:
        value = ast.literal_eval(text)
        return tuple(value) if isinstance(value, tuple | list) else (value,)
    except (ValueError, SyntaxError):
        bare = text.strip()
    if bare[:1] in ("(", "["):
        if bare[-1:] != {"(": ")", "[": "]"}[bare[0]]:
            raise ValueError(f"{text} has no closing bracket")
        bare = bare[1:-1]
    return tuple(word.strip().strip("\"'") for word in bare.split(",") if word.strip())


def _register_parsers() -> None:
    """Makes every flag replace what a field holds, and take None.

    By default config_flags adds up what is given for a tuple more than once, and no text stands for None.
    """
    read: dict[type, tuple[Callable[[str], Any], str]] = {
        int: (flags.IntegerParser().parse, "a whole number"),
        float: (float, "a number"),
        bool: (flags.BooleanParser().parse, "True or False"),
        tuple: (read_tuple, "a tuple such as (1, 2)"),
        str: (str, "text"),
    }
    for kind, (function, right) in read.items():
        config_flags.register_flag_parser_for_type(kind, Value(function, right))


_register_parsers()
