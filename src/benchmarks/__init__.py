"""What things cost on this machine: one file per part of `scripts/benchmark.py`, which compares and never just times.

A part is a module with a function `measure(options)` that returns its comparisons; its docstring is its help.
"""
