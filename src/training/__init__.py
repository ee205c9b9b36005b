"""Everything that changes parameters, or records that they changed."""

import repository  # noqa: F401  (it puts our packages first on Python's path)
