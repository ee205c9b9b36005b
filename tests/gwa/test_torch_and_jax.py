"""The monitor beside the library in JAX: GWA of the same training, and dissent of the same forward passes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.datasets import load_digits

import gwa
from gwa.rules import Dissent, HardDissent
from gwa.rules.dissent import measure_hard_dissent, sample_dissent, vote

torch = pytest.importorskip("torch")
from torch_process import Network  # noqa: E402

gwa_torch = pytest.importorskip("gwa.torch")
F = torch.nn.functional
torch.set_num_threads(1)  # two threads on a busy machine wait for each other

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("rule", [Dissent(), HardDissent()])
def test_dissent_is_that_of_the_library_in_jax(rule):
    """From the logits of the same forward passes; and a monitor that resumes goes on in the same way."""
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(40, 6)).astype(np.float32), rng.integers(0, 4, 40)
    model = Network(6, 8, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=2.0)
    monitor = gwa_torch.AlignmentMonitor(model, "fc", rule, num_examples=40, epochs=6)
    predictions = []
    for _ in range(6):
        logits = np.empty((40, 4), np.float32)
        for rows in rng.permutation(40).reshape(4, 10):
            outputs = model(torch.from_numpy(images[rows]))
            logits[rows] = outputs.detach()
            F.cross_entropy(outputs, torch.from_numpy(labels[rows])).backward()
            optimizer.step()
            optimizer.zero_grad()
            monitor.update(labels[rows], rows)
        if len(predictions) == 3:
            resumed = gwa_torch.AlignmentMonitor(model, "fc", rule, num_examples=40, epochs=6)
            resumed.resume(monitor.history, predictions)
            np.testing.assert_array_equal(resumed._past, monitor._past)
            resumed.remove()
        record = monitor.end_epoch()
        if not predictions:
            assert (record["dissent"], record["hard_dissent"]) == (None, None)
        else:
            past = vote(np.stack(predictions), 4)
            expected = np.asarray(sample_dissent(logits, past, labels)).mean(dtype=float)
            assert record["dissent"] == pytest.approx(expected, abs=1e-6)
            assert record["hard_dissent"] == pytest.approx(measure_hard_dissent(logits.argmax(1), past, labels))
        predictions.append(logits.argmax(1))
    assert monitor.verdict.best_epoch == rule.select(monitor.history)
    with pytest.raises(ValueError, match="num_examples must be given"):
        gwa_torch.AlignmentMonitor(model, "fc", rule, epochs=6)
    with pytest.raises(ValueError, match="needs the predictions of 6 epochs, not of 2"):
        gwa_torch.AlignmentMonitor(model, "fc", rule, num_examples=40, epochs=6).resume(
            monitor.history, predictions[:2]
        )


def test_the_same_network_in_both_gives_the_same_curve():
    torch.manual_seed(2)
    images, labels = load_digits(return_X_y=True)
    images, labels, epochs = (images[:1408] / 16).astype(np.float32), labels[:1408], 5
    orders = [np.random.default_rng(epoch).permutation(len(images)).reshape(-1, 128) for epoch in range(epochs)]
    model = Network(64, 32, 10)
    params = [parameter.detach().numpy().copy() for parameter in model.parameters()]

    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    monitor = gwa_torch.AlignmentMonitor(model, "fc", epochs=epochs)
    for order in orders:
        for rows in order:
            targets = torch.from_numpy(labels[rows])
            F.cross_entropy(model(torch.from_numpy(images[rows])), targets).backward()
            optimizer.step()
            optimizer.zero_grad()
            monitor.update(targets)
        monitor.end_epoch()

    curve = jax_curve(params, images, labels, orders)
    print("largest difference of GWA:", np.abs(np.subtract([r["gwa"] for r in monitor.history], curve)).max())
    assert np.ptp(curve) > 0.05
    np.testing.assert_allclose([record["gwa"] for record in monitor.history], curve, rtol=0, atol=1e-3)


def jax_curve(params, images, labels, orders):
    """GWA of each epoch of the same training in JAX; params are those of the PyTorch modules, in their order."""
    optimizer = optax.sgd(0.2, momentum=0.9)
    state = optimizer.init(params)

    def loss(params, images, labels):
        hidden, hidden_bias, kernel, bias = params
        embeddings = jax.nn.relu(images @ hidden.T + hidden_bias[None])
        logits = embeddings @ kernel.T + bias[None]
        alignment = gwa.head_alignment(logits, labels, embeddings, kernel.T, bias)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), alignment

    @jax.jit
    def step(params, state, images, labels):
        (_, alignment), gradient = jax.value_and_grad(loss, has_aux=True)(params, images, labels)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state, alignment

    curve = []
    for order in orders:
        scores = []
        for rows in order:
            params, state, alignment = step(params, state, images[rows], labels[rows])
            scores.append(alignment)
        curve.append(float(gwa.gwa_score(jax.jit(gwa.Moments.of)(jnp.concatenate(scores)))))
    return curve
