"""Trained parameters on test sets: corruptions, further test sets, and other estimates of the alignments."""

import repository  # noqa: F401  (it puts our packages first on Python's path)
