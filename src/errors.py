"""The one exception that stands for a user's mistake."""


class UserError(Exception):
    """Something the user can put right: one line that says what is wrong, where, and what would be right.

    The command line prints it without a traceback and exits with code 2.
    """
