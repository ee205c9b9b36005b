"""The training digits as a folder of pictures, 5 % of them in the directory of another digit, and what a search found.

uv run tests/support/swapped_digits.py write digits0 --seed=0
uv run scripts/find_label_issues.py digits0
uv run tests/support/swapped_digits.py judge digits0 runs/digits0

The names of the swapped ones are in digits0.json, beside the folder, which the search does not see.
"""

import argparse
import csv
import json
import pathlib
import sys

import numpy as np
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "src"))
import repository  # noqa: F401

from datasets.arrays import load_digits


def write(folder, seed):
    """`folder/<digit>/<number>.png`, 1,438 of 8 × 8 pixels; 72 of them drawn by the seed, their digits at random."""
    train = load_digits().train
    rng = np.random.default_rng(seed)
    swapped = rng.choice(len(train), round(0.05 * len(train)), replace=False)
    labels = train.labels.copy()
    labels[swapped] = (labels[swapped] + rng.integers(1, 10, len(swapped))) % 10
    for number, (image, label) in enumerate(zip(train.images, labels, strict=True)):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(folder / str(label) / f"{number:04}.png")
    folder.with_suffix(".json").write_text(json.dumps([f"{number:04}.png" for number in swapped.tolist()]))


def judge(folder, workdir):
    """How many labels are flagged; of these, the share that is swapped; of the swapped, the share that is flagged; and
    of as many worst labels as there are swapped ones, the share that is swapped."""
    swapped = set(json.loads(folder.with_suffix(".json").read_text()))
    with (workdir / "label_issues.csv").open(newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: int(row["rank"]))
    is_swapped = np.array([pathlib.Path(row["path"]).name in swapped for row in rows])
    flagged = np.array([row["is_label_issue"] == "True" for row in rows])
    assert is_swapped.sum() == len(swapped)
    precision = is_swapped[flagged].mean() if flagged.any() else float("nan")
    return int(flagged.sum()), precision, flagged[is_swapped].mean(), is_swapped[: len(swapped)].mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("write", "judge"))
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("workdir", type=pathlib.Path, nargs="?")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.what == "write":
        write(arguments.folder, arguments.seed)
    else:
        flagged, precision, recall, worst = judge(arguments.folder, arguments.workdir)
        print(f"flagged {flagged}, precision {precision:.3f}, recall {recall:.3f}, precision of the worst {worst:.3f}")


if __name__ == "__main__":
    main()
