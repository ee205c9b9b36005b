"""Weights & Biases without a network: offline it writes, online without a key it goes offline, and nothing fails."""

import os
import pathlib
import subprocess
import sys

import pytest

from configs import base
from training.run.tracking import Tracking

ROOT = pathlib.Path(__file__).parents[2]
# In a process of its own: wandb leaves threads and event loops behind.
ONE_RECORD = """
import sys
sys.path.insert(0, "src")
import repository
import pathlib
from configs import base
from training.run.tracking import Tracking
config = base.get_config()
config.wandb.mode = sys.argv[1]
with Tracking(config, pathlib.Path(sys.argv[2])) as tracking:
    tracking.log({"epoch": 1, "gwa": 0.25, "val_loss": None})
    tracking.summarize({"chosen": 1})
    page = pathlib.Path(sys.argv[2]) / "report.html"
    page.write_text("<p>the page</p>")
    tracking.log_page(page)
"""


@pytest.mark.parametrize(("mode", "warns"), [("offline", False), ("online", True)])
def test_a_run_is_recorded_offline(tmp_path, mode, warns):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    environment |= {"HOME": str(tmp_path), "WANDB_BASE_URL": "http://127.0.0.1:9"}  # no key, and nobody answers
    command = [sys.executable, "-c", ONE_RECORD, mode, str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    assert ("cannot connect" in result.stderr) == warns
    (written,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    assert (tmp_path / "wandb_id").read_text() in written.name
    assert b"gwa" in written.read_bytes()
    (page,) = written.parent.glob("files/media/html/report_*.html")
    assert page.read_text() == "<p>the page</p>"


def test_disabled_writes_nothing(tmp_path):
    with Tracking(base.get_config(), tmp_path) as tracking:
        tracking.log({"epoch": 1})
    assert not any(tmp_path.iterdir())
