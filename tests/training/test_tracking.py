"""Weights & Biases without a network: offline it writes, online without a key it goes offline, and nothing fails."""

import logging

import pytest

from configs import base
from errors import UserError
from training.tracking import Tracking

pytestmark = pytest.mark.filterwarnings("ignore")  # wandb's own


@pytest.mark.parametrize(("mode", "warns"), [("offline", False), ("online", True)])
def test_a_run_is_recorded_offline(tmp_path, monkeypatch, caplog, mode, warns):
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))  # no key in a netrc
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody answers there
    config = base.get_config()
    config.wandb.mode = mode
    with caplog.at_level(logging.WARNING), Tracking(config, tmp_path) as tracking:
        tracking.log({"epoch": 1, "gwa": 0.25, "val_loss": None})
        tracking.summarize({"chosen": 1})
    assert ("cannot go online" in caplog.text) == warns
    (written,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    assert (tmp_path / "wandb_id").read_text() in written.name
    assert b"gwa" in written.read_bytes()


def test_disabled_writes_nothing(tmp_path):
    with Tracking(base.get_config(), tmp_path) as tracking:
        tracking.log({"epoch": 1})
    assert not any(tmp_path.iterdir())


def test_mistake(tmp_path):
    config = base.get_config()
    config.wandb.mode = "on"
    with pytest.raises(UserError, match="disabled, offline, online"):
        Tracking(config, tmp_path)
