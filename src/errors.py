"""The one exception that stands for a user's mistake, and the mistakes that others report, in one line."""

import re


class UserError(Exception):
    """Something the user can put right: one line that says what is wrong, where, and what would be right.

    The command line prints it without a traceback and exits with code 2.
    """


def one_line(error: object) -> str:
    """What an exception says: of several lines the last one, which says it."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else repr(error)


def config_mistake(error: Exception) -> str:
    """What is wrong with a config, from whatever reading it has raised."""
    if isinstance(error, (AttributeError, KeyError)):  # ml_collections wraps the name, and its guess, in several quotes
        field, guess = re.search(r"\w+", str(error)), re.search(r'mean "(\w+)"', str(error))
        return f"the config has no field {field and field[0]}" + (f"; did you mean {guess[1]}?" if guess else "")
    return one_line(error)
