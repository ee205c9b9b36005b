"""The feed of a set that lies on the devices: it is refused where it does not fit."""

from types import SimpleNamespace

import numpy as np
import pytest

from datasets.examples import Examples
from datasets.feeds import ResidentFeed
from errors import UserError
from parallel import devices


class Device:
    """An accelerator with 1,000 bytes, some of them in use."""

    def __init__(self, used):
        self._used = used

    def memory_stats(self):
        return {"bytes_limit": 1000, "bytes_in_use": self._used}

    def __str__(self):
        return "cuda:0"


@pytest.mark.parametrize(("used", "fits"), [(231, True), (233, False)])
def test_images_that_do_not_fit_on_a_device_are_refused(monkeypatch, used, fits):
    monkeypatch.setattr(devices, "replicated_sharding", lambda mesh: None)
    monkeypatch.setattr(devices, "place", lambda tree, sharding: tree)
    examples = Examples.of(np.zeros((1, 16, 16, 3), np.uint8), [0])  # 768 bytes
    mesh = SimpleNamespace(local_devices=[Device(used)])
    if fits:
        assert ResidentFeed(examples, 0, mesh).data["image"] is examples.images
    else:
        with pytest.raises(UserError, match=r"dataset\.feed is 'resident'; the images take .* cuda:0 has"):
            ResidentFeed(examples, 0, mesh)
