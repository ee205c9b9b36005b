"""Finds what users bring along, a network, a rule or a data set of their own: the config names it as `module:Name`."""

import difflib
import importlib
import os
import traceback
from typing import Any

from repository import add_to_path

from errors import UserError, one_line


def is_external(name: object) -> bool:
    """Whether a name in the config stands for something outside this repository."""
    return isinstance(name, str) and ":" in name


def load_object(name: str, field: str, base: type | None = None) -> Any:
    """Imports `module:Name` from Python's path or the current directory.

    Args:
      name: such as `my_module:MyNet` or `my_package.my_module:MyNet`.
      field: of the config, for the messages, such as `network.name`.
      base: of which the object must be a subclass; without one it must be a function.

    Raises:
      UserError: there is no such module, importing it fails, it has no such name, or the object is of another kind.
    """
    module_name, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), attribute)):
        raise UserError(f"{field} is {name!r}; it must be module:Name, such as my_module:MyNet")
    module = _import_module(module_name, field)
    if not hasattr(module, attribute):
        close = difflib.get_close_matches(attribute, dir(module), n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        file = getattr(module, "__file__", None) or module_name
        raise UserError(f"{field} is {name!r}, but {file} has no {attribute}{hint}")
    found = getattr(module, attribute)
    if not (isinstance(found, type) and issubclass(found, base) if base else callable(found)):
        right = f"a subclass of {base.__module__}.{base.__name__}" if base else "a function"
        raise UserError(f"{field} is {name!r}, which is {describe(found)}; it must be {right}")
    return found


def describe(thing: object) -> str:
    """What something is, in a few words for a message: `the class Net`, or `of type int`."""
    return f"the class {thing.__name__}" if isinstance(thing, type) else f"of type {type(thing).__name__}"


def explain_failure(error: Exception) -> str:
    """An exception from a user's code in one line, with the last line of theirs, not of a library's, that led to it."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({error.filename}, line {error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    frame = [frame for frame in frames if "site-packages" not in frame.filename and frame.filename[0] != "<"][-1]
    return f"{type(error).__name__}: {one_line(error)} ({frame.filename}, line {frame.lineno})"


def _import_module(name: str, field: str) -> Any:
    add_to_path(os.getcwd())  # `python my_file.py` finds modules beside my_file.py, not those beside the user
    try:
        return importlib.import_module(name)
    except Exception as error:  # whatever a module of the user's raises
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            where = f"on Python's path or in {os.getcwd()}"
            raise UserError(f"{field}: there is no module {error.name!r} {where}") from None
        raise UserError(f"{field}: cannot import {name}: {explain_failure(error)}") from error
