"""What a run says while an epoch goes on, where there is no terminal."""

import jax.numpy as jnp

from training.run.progress import Progress

RECORD = {
    "epoch": 2,
    "train_loss": 1.5,
    "train_accuracy": 0.5,
    "gwa": 0.1,
    "val_accuracy": None,
    "test_accuracy": None,
    "seconds": 100.0,
    "feed_seconds": 12.0,
}


def so_far(gwa):
    return {"gwa": jnp.float32(gwa), "train_accuracy": jnp.float32(0.25)}


def test_a_long_epoch_says_every_minute_how_far_it_is(monkeypatch, capsys):
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    progress = Progress(epochs=3, steps_per_epoch=50)
    progress.start(50)  # with the second epoch
    for step in range(30):
        now[0] += 5
        progress.show_dispatch(2, 1, so_far(step))
    progress.show_epoch(RECORD)
    lines = capsys.readouterr().out.splitlines()
    # Values are two dispatches old: after a minute, the twelfth has come and the tenth is shown.
    assert lines[0] == "epoch 2/3  step 10/50  0.167 steps/s  GWA 9.0000, training accuracy 0.250"
    assert lines[1] == "epoch 2/3  step 22/50  0.2 steps/s  GWA 21.0000, training accuracy 0.250"
    assert lines[2:] == [
        "epoch 2/3  loss 1.5000  training accuracy 0.500  GWA 0.1000  seconds 100.0  about 2 min left  "
        "waiting for images 12.0"
    ]


def test_a_short_epoch_is_one_line(capsys):
    progress = Progress(epochs=3, steps_per_epoch=50)
    progress.start(50)
    for step in range(30):
        progress.show_dispatch(2, 1, so_far(step))
    progress.show_epoch(RECORD | {"feed_seconds": 0.01})
    assert (
        capsys.readouterr().out
        == "epoch 2/3  loss 1.5000  training accuracy 0.500  GWA 0.1000  seconds 100.0  about 2 min left\n"
    )
