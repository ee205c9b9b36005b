"""The command line of every script: whatever the user can put right is answered in one line, with exit code 2."""

import argparse
import pathlib
import sys
from collections.abc import Callable
from typing import NoReturn

from errors import UserError, one_line


class Parser(argparse.ArgumentParser):
    """Shows the script's docstring as its help, and takes no abbreviated options."""

    def __init__(self, description: str | None):
        """Takes the docstring of the script."""
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(description=description, formatter_class=formatter, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Ends the program."""
        refuse(message)


def run(main: Callable[[], None]) -> None:
    """Calls a script's main function; a UserError and a file that cannot be read or written end it with one line."""
    try:
        main()
    except (UserError, OSError) as error:
        refuse(error)


def refuse(mistake: object) -> NoReturn:
    """Ends the program: the script's name and the mistake on stderr, and exit code 2."""
    print(f"{pathlib.Path(sys.argv[0]).name}: {one_line(mistake)}", file=sys.stderr)
    sys.exit(2)
