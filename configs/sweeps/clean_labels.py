"""Clean and train again: what dropping or relabelling suspect labels gains where 40 % of the labels are wrong.

uv run scripts/sweep.py configs/sweeps/clean_labels.py --only='noisy-*'
uv run scripts/cross_validate.py runs/clean_labels
uv run --with cleanlab==2.9.0 scripts/judge_detection.py runs/clean_labels --write
uv run scripts/sweep.py configs/sweeps/clean_labels.py

30 runs of about 20 seconds on 2 CPU cores, on digits with symmetric noise; or, as `clean_labels.py:cifar10n` and in
runs/clean_labels_cifar10n, of 40 seconds on 2,000 images of CIFAR-10-N with the labels `worse`. The first command
trains on all labels. The second one trains five times more, for cleanlab. The third one ranks the labels by several
scores and flags as many of the most suspect ones as there are wrong ones; `random` flags as many at random, and `truth`
the wrong ones. The last command trains without the flagged samples, or on their suggested labels, for about as many
steps. Which share to flag is the one thing that a user does not know.
"""

from errors import UserError
from sweeps import Run

SEEDS = range(3)
DROPPED = ("alignment", "loss", "margin", "cleanlab", "random", "truth")
RELABELLED = ("alignment", "loss", "truth")
EPOCHS, EPOCHS_AFTER_DROPPING = 30, 50  # digits: of 23 and of 14 steps; CIFAR-10-N: of 18 and of 11

DATA = {
    "digits": ("configs/digits.py", "runs/clean_labels", {"dataset.label_noise.rate": 0.4}),
    "cifar10n": (
        "configs/regimes.py:convnext",
        "runs/clean_labels_cifar10n",
        {"dataset.label_key": "worse_label", "dataset.val_fraction": 0.0, "augment.pad": 4, "augment.flip": True},
    ),
}


def get_runs(data: str = "digits") -> list[Run]:
    """The runs on all labels, then those on what each score leaves or changes."""
    if data not in DATA:
        raise UserError(f"clean_labels.py has the variants {' and '.join(DATA)}, not {data!r}")
    config, folder, overrides = DATA[data]
    treatments = [("drop", score) for score in DROPPED] + [("relabel", score) for score in RELABELLED]
    runs = [Run(config, _cell("noisy", "kept", seed), _overrides(seed) | overrides) for seed in SEEDS]
    for seed in SEEDS:
        for clean, score in treatments:
            cleaned = {
                "dataset.labels": f"{folder}/noisy-kept-seed{seed}/flagged/{score}.csv",
                "dataset.clean": clean,
                "epochs": EPOCHS_AFTER_DROPPING if clean == "drop" else EPOCHS,
            }
            runs.append(Run(config, _cell(score, clean, seed), _overrides(seed) | overrides | cleaned))
    return runs


def _cell(score: str, clean: str, seed: int) -> dict[str, str | int | float]:
    return {"score": score, "clean": clean, "seed": seed}


def _overrides(seed: int) -> dict[str, object]:
    return {
        "seed": seed,
        "dataset.seed": seed,
        "stopping.rules": ("max_gwa",),
        "record": ("loss", "margin", "error_norm"),
    }
