"""Trained parameters at work: on test sets and on pictures, and other estimates of their alignments."""

import repository  # noqa: F401  (it puts our packages first on Python's path)
