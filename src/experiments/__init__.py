"""Sets of runs, and what is computed from finished ones: sweeps, tables and figures. Nothing here trains."""
