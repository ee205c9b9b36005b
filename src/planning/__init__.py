"""What a run will cost on accelerators that are not here: counted from its programs, or compiled for them."""

import repository  # noqa: F401  (it puts our packages first on Python's path)
