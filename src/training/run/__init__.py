"""The work directory of a run: records, checkpoints, environment, progress, tracking, and one reader for all."""
