"""A folder of pictures with a directory per class: a small ConvNeXt V2 that is trained to find wrong labels.

uv run scripts/find_label_issues.py pictures

5,000 pictures take 4 minutes of CPU time. With src/train.py, the variant is the number of pictures:

uv run src/train.py --config=configs/find_label_issues.py:5000 --config.dataset.path=pictures

Results: docs/labels.md.
"""

from ml_collections import ConfigDict

from configs import base
from errors import UserError

LEAST_STEPS = 600  # small folders get more epochs
MOST_SAMPLES = 300_000  # over all epochs; large folders get fewer


def get_config(pictures: str = "5000") -> ConfigDict:
    """For a folder of so many pictures to train on."""
    if not pictures.isdecimal() or int(pictures) < 1:
        raise UserError(f"--config: the variant of find_label_issues is a number of pictures, not {pictures!r}")
    config = base.get_config()
    config.batch_size = 64
    config.epochs = choose_epochs(int(pictures), config.batch_size)
    config.report = False  # scripts/find_label_issues.py writes the page
    config.dataset.name = "folder"
    config.dataset.image_size = 64
    # Shifts change no class. Flips would turn letters and digits into others.
    config.augment.pad = 2
    config.network.name = "convnextv2"
    config.network.patch_size = 4
    config.network.kernel_size = 3
    config.network.depths = (2, 2, 2)
    config.network.widths = (32, 64, 128)
    config.optimizer.learning_rate = 1e-3
    config.stopping.rules = ("dissent", "max_gwa", "last")
    return config


def choose_epochs(pictures: int, batch_size: int) -> int:
    """30; up to 100 for fewer than 1,300 pictures, down to 10 for more than 10,000."""
    steps = -(-pictures // batch_size)
    if steps * 30 < LEAST_STEPS:
        return min(-(-LEAST_STEPS // steps), 100)
    return max(min(30, MOST_SAMPLES // pictures), 10)
