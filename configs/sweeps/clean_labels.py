"""Clean and train again: what dropping or relabelling suspect labels gains on digits, 40 % of whose labels are wrong.

uv run scripts/sweep.py configs/sweeps/clean_labels.py --only='noisy-*'
uv run scripts/judge_detection.py runs/clean_labels --write
uv run scripts/sweep.py configs/sweeps/clean_labels.py

27 runs of about 20 seconds on 2 CPU cores. The first command trains on all labels. The second one ranks them by several
scores and flags as many of the most suspect ones as there are wrong ones; `random` flags as many at random, and `truth`
the wrong ones. The third command trains without the flagged samples, or on their suggested labels, for about as many
steps. Which share to flag is the one thing that a user does not know.
"""

from sweeps import Run

SEEDS = range(3)
DROPPED = ("alignment", "loss", "margin", "random", "truth")
RELABELLED = ("alignment", "loss", "truth")
EPOCHS, EPOCHS_AFTER_DROPPING = 30, 50  # of 23 and of 14 steps


def get_runs() -> list[Run]:
    """The runs on all labels, then those on what each score leaves or changes."""
    runs = [Run("configs/digits.py", _cell("noisy", "kept", seed), _overrides(seed)) for seed in SEEDS]
    treatments = [("drop", score) for score in DROPPED] + [("relabel", score) for score in RELABELLED]
    for seed in SEEDS:
        for clean, score in treatments:
            overrides = _overrides(seed) | {
                "dataset.labels": f"runs/clean_labels/noisy-kept-seed{seed}/flagged/{score}.csv",
                "dataset.clean": clean,
                "epochs": EPOCHS_AFTER_DROPPING if clean == "drop" else EPOCHS,
            }
            runs.append(Run("configs/digits.py", _cell(score, clean, seed), overrides))
    return runs


def _cell(score: str, clean: str, seed: int) -> dict[str, str | int | float]:
    return {"score": score, "clean": clean, "seed": seed}


def _overrides(seed: int) -> dict[str, object]:
    return {
        "seed": seed,
        "dataset.seed": seed,
        "stopping.rules": ("max_gwa",),
        "dataset.label_noise.rate": 0.4,
        "record": ("loss", "margin", "error_norm"),
    }
