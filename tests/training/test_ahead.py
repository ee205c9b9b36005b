"""What is compiled before the first step is what the first epoch calls."""

import contextlib

import jax
import pytest
from small_runs import small

from training import ahead, step
from training.collector import Collector
from training.epoch_record import measure_signals, start_evaluation
from training.loop import train_epoch
from training.prepare import initialize, prepare
from training.run.session import open_run

RULES = ("max_gwa", "dissent", "gradient_disparity", "lowest_sharpness")


@pytest.mark.parametrize("fixed", [False, True], ids=["any number of steps", "a number of steps each"])
def test_the_first_epoch_compiles_nothing_that_was_compiled_before_it(tmp_path, monkeypatch, caplog, fixed):
    monkeypatch.setattr(step, "_fixes_count", lambda: fixed)
    config = small(**{"stopping.rules": RULES, "dataset.val_fraction": 0.2, "batch_size": 32, "steps_per_dispatch": 3})
    config.stopping.gradient_disparity.batches = 2
    with prepare(config) as setup, open_run(setup, tmp_path / "run", overwrite=False) as run:
        assert setup.steps_per_epoch % setup.steps_per_dispatch  # the last block is a shorter one
        _, state, _ = run.resume(initialize(setup, fresh=True))
        monkeypatch.setattr(ahead, "_pays", lambda setup: True)
        with log_compiles(), caplog.at_level("WARNING"):
            ahead.compile_programs(setup, state)
            compiled = names_of_compiled(caplog)
            assert {"train_block", "evaluate", "gradient_disparity", "sharpness"} <= compiled
            caplog.clear()
            state, _ = train_epoch(setup, run, state, 1, Collector())
            start_evaluation(setup, state)
            measure_signals(setup, state, epoch=1)
        assert not compiled & names_of_compiled(caplog)


def test_nothing_is_compiled_before_it_on_a_cpu(caplog):
    with prepare(small()) as setup, log_compiles(), caplog.at_level("WARNING"):
        state = initialize(setup, fresh=True)
        ahead.compile_programs(setup, state)
    assert "train_block" not in names_of_compiled(caplog)


@contextlib.contextmanager
def log_compiles():
    """As `jax.log_compiles`, in all threads."""
    jax.config.update("jax_log_compiles", True)
    yield
    jax.config.update("jax_log_compiles", False)


def names_of_compiled(caplog):
    """Of the programs that JAX says it has compiled, or read from its cache."""
    lines = (record.getMessage() for record in caplog.records)
    return {line.split("jit(")[1].split(")")[0] for line in lines if "XLA compilation of jit(" in line}
