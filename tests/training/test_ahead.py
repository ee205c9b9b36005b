"""What is compiled ahead is what the first epoch needs after its last step."""

import jax
import pytest
from small_runs import small

from parallel import devices
from training import ahead
from training.epoch_record import evaluate, measure_signals
from training.prepare import initialize, prepare

RULES = ("max_gwa", "gradient_disparity", "lowest_sharpness")


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """Counts the programs in a cache of its own."""
    monkeypatch.setattr(devices, "cache_root", lambda: tmp_path)
    yield lambda: {path.name for path in tmp_path.glob("xla/*/*-cache")}
    monkeypatch.undo()
    devices.enable_compilation_cache()
    jax.experimental.compilation_cache.compilation_cache.reset_cache()


def test_evaluation_and_measurements_find_their_programs_in_the_cache(cached, monkeypatch):
    jax.experimental.compilation_cache.compilation_cache.reset_cache()
    config = small(
        **{
            "stopping.rules": RULES,
            "dataset.val_fraction": 0.2,
            "stopping.gradient_disparity.batches": 2,
            "batch_size": 32,
        }
    )
    with prepare(config) as setup:
        state = initialize(setup, fresh=True)
        ahead.start(setup, state)  # on a CPU it does nothing
        assert not any("evaluate" in name for name in cached())
        monkeypatch.setattr(ahead.jax, "default_backend", lambda: "gpu")
        monkeypatch.setattr(ahead.threading.Thread, "start", lambda self: self.run())
        ahead.start(setup, state)
        monkeypatch.undo()
        before = {name for name in cached() if "evaluate" in name or "disparity" in name or "sharpness" in name}
        assert len(before) == 4  # evaluation on two splits
        evaluate(setup, state)
        measure_signals(setup, state, epoch=1)
        after = {name for name in cached() if "evaluate" in name or "disparity" in name or "sharpness" in name}
    assert after == before
