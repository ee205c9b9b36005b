"""What finished runs say together: tables and figures, made from their records alone."""

import repository  # noqa: F401  (it puts our packages first on Python's path)
