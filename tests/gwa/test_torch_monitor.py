"""The monitor in loops as users write them: what it sees, what it must not see, and what it refuses."""

import json
import pathlib
import re

import jax
import numpy as np
import pytest

import gwa
from gwa.rules import Dissent

torch = pytest.importorskip("torch")
from torch_process import Network, batches  # noqa: E402

gwa_torch = pytest.importorskip("gwa.torch")
from gwa.torch.epoch import Batch, SampleRows  # noqa: E402

nn, F = torch.nn, torch.nn.functional
torch.set_num_threads(1)  # two threads on a busy machine wait for each other

pytestmark = pytest.mark.torch


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Network()


def direct(model, images, labels):
    """The scores by the plain function, with the weights as they are now."""
    with torch.no_grad():
        embeddings = model.hidden(images).relu()
        logits = model.fc(embeddings)
    return gwa_torch.head_alignment(logits, labels, embeddings, model.fc.weight.T, model.fc.bias)


def train(model, monitor, optimizer, update_first, run=None):
    """Three steps with row numbers; returns the scores that the plain function gives before each step."""
    expected, run = [], model if run is None else run
    for step, (images, labels) in enumerate(batches()):
        expected.append(direct(model, images, labels))
        index = torch.arange(16) + 16 * step
        F.cross_entropy(run(images), labels).backward()
        if update_first:
            monitor.update(labels, index)
        optimizer.step()
        optimizer.zero_grad()
        if not update_first:
            monitor.update(labels, index)
    return torch.cat(expected)


@pytest.mark.parametrize("update_first", [True, False])
def test_scores_are_those_of_the_weights_of_the_forward_pass(model, update_first):
    monitor = gwa_torch.AlignmentMonitor(model, head="fc", num_examples=48, epochs=10)
    expected = train(model, monitor, torch.optim.SGD(model.parameters(), lr=1.0), update_first)
    record = monitor.end_epoch(train_loss=0.5)
    np.testing.assert_allclose(monitor.samples["alignment"], expected, rtol=0, atol=1e-6)
    moments = jax.jit(gwa.Moments.of)(expected.numpy())
    assert record["gwa"] == pytest.approx(float(gwa.gwa_score(moments)), abs=1e-6)
    assert record["alignment_variance"] == pytest.approx(float(moments.variance), abs=1e-6)
    assert record["train_loss"] == 0.5
    assert record["progress"] == 0.1
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_three_lines_in_a_plain_loop(model, caplog):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor = gwa_torch.AlignmentMonitor(model)
    for _ in range(3):
        right = 0
        for images, labels in batches(66):
            logits = model(images)
            F.cross_entropy(logits, labels).backward()
            optimizer.step()
            optimizer.zero_grad()
            monitor.update(labels)
            right += int((logits.argmax(-1) == labels).sum())
        record = monitor.end_epoch()
        assert record["train_accuracy"] == pytest.approx(right / (66 * 16))
    assert "'fc'" in caplog.text
    assert [record["epoch"] for record in monitor.history] == [1, 2, 3]
    assert monitor.verdict.best_epoch == gwa.MaxGWA(warmup=0.0).select(monitor.history)


def test_the_loop_of_the_documentation(model, tmp_path, monkeypatch):
    page = (pathlib.Path(__file__).parents[2] / "docs" / "torch.md").read_text()
    monkeypatch.chdir(tmp_path)
    names = {
        "model": model,
        "loader": list(batches(2)),
        "cross_entropy": F.cross_entropy,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "torch": torch,
    }
    exec(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1], names)
    assert len(names["monitor"].history) == 30
    assert (tmp_path / "best.pt").exists()


def test_gradient_accumulation_in_either_form(model):
    (first, second), together = list(batches(2)), []
    for separate in (True, False):
        monitor = gwa_torch.AlignmentMonitor(model, "fc", num_examples=32)
        for i, (images, labels) in enumerate((first, second)):
            model(images)
            if separate:
                monitor.update(labels, index=range(16 * i, 16 * i + 16))
        if not separate:
            monitor.update(torch.cat([first[1], second[1]]), index=np.arange(32))
        monitor.end_epoch()
        together.append(monitor.samples["alignment"])
        monitor.remove()
    np.testing.assert_array_equal(*together)
    np.testing.assert_allclose(together[0][16:], direct(model, *second), rtol=0, atol=1e-6)


def test_evaluation_is_not_seen(model):
    monitor = gwa_torch.AlignmentMonitor(model, "fc")
    ((images, labels),) = batches(1)
    model(images)
    monitor.update(labels)
    with torch.no_grad():
        model(images)
    with torch.inference_mode():
        model(images)
    model.eval()
    model(images)
    assert monitor.end_epoch()["alignment_mean"] == pytest.approx(float(direct(model, images, labels).mean()), abs=1e-6)
    monitor.remove()
    model.train()
    model(images)
    with pytest.raises(ValueError, match="has not run"):
        monitor.update(labels)


def test_nothing_of_the_graph_is_kept(model):
    monitor = gwa_torch.AlignmentMonitor(model, "fc")
    model(next(batches())[0])
    assert not any(tensor.requires_grad for tensor in monitor._passes[0])


def test_autocast_scores_the_logits_it_gave(model):
    monitor = gwa_torch.AlignmentMonitor(model, "fc", num_examples=16)
    ((images, labels),) = batches(1)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(images)
        monitor.update(labels, range(16))
    assert logits.dtype == torch.bfloat16
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        embeddings = model.hidden(images).relu()
    expected = gwa_torch.head_alignment(logits, labels, embeddings, model.fc.weight.T, model.fc.bias)
    monitor.end_epoch()
    np.testing.assert_allclose(monitor.samples["alignment"], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("backend", "monitor_first"), [("eager", True), ("eager", False), ("inductor", False)])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_model_gives_the_same_scores(model, backend, monitor_first):
    torch._dynamo.reset()
    compiled = model if monitor_first else torch.compile(model, backend=backend, fullgraph=True)
    monitor = gwa_torch.AlignmentMonitor(compiled, "fc", num_examples=48)
    if monitor_first:
        compiled = torch.compile(model, backend=backend, fullgraph=True)
    expected = train(model, monitor, torch.optim.SGD(model.parameters(), lr=1.0), update_first=False, run=compiled)
    monitor.end_epoch()
    np.testing.assert_allclose(monitor.samples["alignment"], expected, rtol=0, atol=1e-6)


def test_ignored_labels_and_tokens(model):
    monitor = gwa_torch.AlignmentMonitor(model, "fc")
    (images, labels), (other, other_labels) = batches(2)
    model(torch.stack([images, other], dim=1))
    labels = torch.stack([labels, other_labels.where(torch.arange(16) < 3, -100)], dim=1)
    monitor.update(labels)
    record = monitor.end_epoch()
    scores = torch.cat([direct(model, images, labels[:, 0]), direct(model, other[:3], other_labels[:3])])
    assert record["alignment_mean"] == pytest.approx(float(scores.mean()), abs=1e-6)


def test_soft_targets(model):
    monitor = gwa_torch.AlignmentMonitor(model, "fc", num_examples=16)
    ((images, labels),) = batches(1)
    targets = 0.7 * F.one_hot(labels, 4).double() + 0.3 * F.one_hot((labels + 1) % 4, 4).double()
    right = (model(images).argmax(-1) == labels).float().mean()
    monitor.update(targets, range(16))
    assert monitor.end_epoch()["train_accuracy"] == pytest.approx(float(right))
    np.testing.assert_allclose(monitor.samples["alignment"], direct(model, images, targets), rtol=0, atol=1e-6)


def test_rows_count_once_and_their_predictions_are_compared(model):
    monitor = gwa_torch.AlignmentMonitor(model, "fc", num_examples=20)
    ((images, labels),) = batches(1)
    for rows in (slice(0, 16), slice(0, 4)):
        model(images[rows])
        monitor.update(labels[rows], np.arange(16)[rows])
    first = monitor.end_epoch()
    expected = direct(model, images, labels)
    predictions = model(images).argmax(-1)
    monitor.update(labels, range(16))
    with torch.no_grad():
        model.fc.bias[0] += 100
    monitor.end_epoch()
    model(images)
    monitor.update(labels, range(16))
    third = monitor.end_epoch()
    assert first["prediction_changes"] is None
    assert monitor.history[1]["prediction_changes"] == 0
    assert third["prediction_changes"] == int((predictions != 0).sum()) > 0
    assert third["prediction_churn"] == third["prediction_changes"] / 16
    assert np.isnan(monitor.samples["alignment"][16:]).all()
    assert (monitor.samples["prediction"][16:] == -1).all()
    np.testing.assert_allclose(monitor.history[0]["alignment_mean"], expected.mean(), rtol=0, atol=1e-6)


def test_a_score_that_is_not_defined_is_none_with_its_reason(model):
    nn.init.zeros_(model.fc.weight)
    monitor = gwa_torch.AlignmentMonitor(model, "fc")
    ((images, labels),) = batches(1)
    model(images)
    monitor.update(labels)
    record = monitor.end_epoch()
    assert record["gwa"] is record["excess_kurtosis"] is None
    assert set(record["reasons"]) == {"gwa", "excess_kurtosis"}
    assert record["non_finite_alignments"] == 0
    assert monitor.verdict == (None, False)


@pytest.mark.parametrize("rows", [None, 16])
@pytest.mark.parametrize("fault", ["logits", "embeddings", "bias", "label"])
def test_an_epoch_with_scores_that_are_not_finite_has_no_gwa(model, fault, rows):
    monitor = gwa_torch.AlignmentMonitor(model, "fc", num_examples=rows)
    ((images, labels),) = batches(1)
    broken = 5
    if fault in ("logits", "embeddings"):
        images = images.clone()
        images[:5] = torch.nan if fault == "logits" else torch.inf
    elif fault == "bias":
        broken = 16
        with torch.no_grad():
            model.fc.bias[0] = torch.inf
    else:
        labels = labels.where(torch.arange(16) >= 5, 255)
    model(images)
    monitor.update(labels, None if rows is None else range(16))
    record = monitor.end_epoch()
    assert record["gwa"] is record["alignment_mean"] is record["excess_kurtosis"] is None
    assert record["non_finite_alignments"] == broken
    assert record["reasons"]["gwa"] == f"{broken} of the alignments are not finite"
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert monitor.verdict == (None, False)
    if rows:
        assert np.isnan(monitor.samples["alignment"]).sum() == broken


def test_dissent_of_a_sample_without_logits(model):
    monitor = gwa_torch.AlignmentMonitor(model, "fc", Dissent(), num_examples=16, epochs=3)
    ((images, labels),) = batches(1)
    for epoch in range(3):
        model(torch.where(torch.arange(16)[:, None] < 5 * (epoch == 2), torch.nan, images))
        monitor.update(labels, range(16))
        record = monitor.end_epoch()
    assert record["dissent"] is None
    assert "dissent" in record["reasons"]
    assert monitor.verdict.best_epoch != 3


def test_the_rule_stops_and_goes_on_after_a_resume(model):
    rule = gwa.MaxGWA(patience=2)
    history = [{"epoch": 1, "progress": 0.5, "gwa": 9.0}, {"epoch": 2, "progress": 0.6, "gwa": 1.0}]
    monitor = gwa_torch.AlignmentMonitor(model, "fc", rule=rule, epochs=4)
    monitor.resume(history)
    assert monitor.verdict == (1, False)
    ((images, labels),) = batches(1)
    model(images)
    monitor.update(labels)
    assert monitor.end_epoch()["epoch"] == 3
    assert monitor.verdict == (1, True)


def test_misuse_is_said_in_one_line(model):
    ((images, labels),) = batches(1)
    with pytest.raises(ValueError, match="epochs must be given"):
        gwa_torch.AlignmentMonitor(model, "fc", rule=gwa.MaxGWA())
    monitor = gwa_torch.AlignmentMonitor(model, "fc")
    with pytest.raises(ValueError, match="'fc' has not run"):
        monitor.update(labels)
    with pytest.raises(ValueError, match=r"no sample was scored; update\(labels\) has not run"):
        monitor.end_epoch()
    model(images)
    for wrong in (labels[:5], labels[:, None], torch.ones(16, 3), labels.float()):
        with pytest.raises(ValueError, match=r"labels have the shape .* has run on \(16,\) samples .* are integers"):
            monitor.update(wrong)
    monitor.update(torch.full_like(labels, -100))
    with pytest.raises(ValueError, match="no sample was scored; no label was 0 or above"):
        monitor.end_epoch()
    model(images)
    with pytest.raises(ValueError, match="index and the monitor's num_examples belong together"):
        monitor.update(labels, index=range(16))
    with pytest.raises(ValueError, match="1 forward passes in training mode came after"):
        monitor.end_epoch()


def test_a_refused_update_may_be_corrected(model):
    ((images, labels),) = batches(1)
    monitor = gwa_torch.AlignmentMonitor(model, "fc", num_examples=16)
    model(images)
    for index, message in (
        (range(-1, 15), "rows -1 to 14, of num_examples=16"),
        (range(1, 17), "rows 1 to 16"),
        (torch.arange(16) / 2, "float32; it must be the integer numbers"),
        (labels == 0, "bool; it must be"),
        (range(15), "it must be one row for each sample"),
    ):
        with pytest.raises(ValueError, match=message):
            monitor.update(labels, index=index)
    monitor.discard()
    model(images)
    monitor.update(labels, index=range(16))
    with pytest.raises(ValueError, match="gwa, train_accuracy are measured here"):
        monitor.end_epoch(gwa=1.0, train_accuracy=0.5, test_accuracy=0.5)


def test_rows_on_an_accelerator_are_checked_when_the_epoch_ends():
    rows = SampleRows(4, torch.device("cpu"))
    batch = Batch(torch.zeros(2), torch.zeros(2).long(), torch.ones(2) > 0, torch.ones(2) > 0, torch.zeros(2, 2))
    rows.add(batch, torch.tensor([2, -1]))
    with pytest.raises(ValueError, match="index had the row -1; rows are numbered from 0"):
        rows.finish()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, not 0"),
        ({"num_examples": -3}, "num_examples must be at least 1"),
        ({"rule": "max_gwa"}, "rule must be a rule such as"),
        ({"rule": gwa.MaxGWA}, "rule must be a rule such as"),
        ({"rule": gwa.LabelWave(), "epochs": 3}, "num_examples must be given: the rule label_wave compares"),
    ],
)
def test_arguments_that_mean_nothing(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        gwa_torch.AlignmentMonitor(model, "fc", **arguments)


def test_a_field_that_never_comes_is_said(model, caplog):
    ((images, labels),) = batches(1)
    monitor = gwa_torch.AlignmentMonitor(model, "fc", rule=gwa.BestValidation())
    for _ in range(2):
        model(images)
        monitor.update(labels)
        monitor.end_epoch()
    (line,) = caplog.messages
    assert line.startswith("the rule best_validation reads val_accuracy, which the first record lacks")


@pytest.mark.parametrize(
    ("saved", "loaded", "message"),
    [
        ({"num_examples": 16}, {"num_examples": 17}, "saved with num_examples=16, not 17"),
        ({"num_examples": 16}, {}, "saved with num_examples=16, not None"),
        ({}, {"num_examples": 16}, "saved with no num_examples, not 16"),
        ({"num_examples": 16}, {"num_examples": 16, "keep_samples": True}, "saved without keep_samples"),
    ],
)
def test_a_state_of_another_monitor_is_refused(model, saved, loaded, message):
    ((images, labels),) = batches(1)
    first = gwa_torch.AlignmentMonitor(model, "fc", **saved)
    for _ in range(2):
        model(images)
        first.update(labels, **({"index": range(16)} if saved else {}))
        first.end_epoch()
    state = first.state_dict()
    with pytest.raises(ValueError, match=message):
        gwa_torch.AlignmentMonitor(model, "fc", **loaded).load_state_dict(state)
    with pytest.raises(ValueError, match="has seen 2 epochs; load into a new one"):
        first.load_state_dict(state)
    with pytest.raises(ValueError, match="no state of an AlignmentMonitor"):
        gwa_torch.AlignmentMonitor(model, "fc").load_state_dict({"model": {}})


def test_label_issues_are_those_of_the_scores_it_has_shown(model):
    """Two clusters of images with two classes, and 20 of 200 labels wrong."""
    rng = np.random.default_rng(0)
    clean = np.arange(200) % 4
    labels = np.where(np.arange(200) < 20, (clean + 1) % 4, clean)
    images = torch.as_tensor(np.eye(6)[clean] * 3 + rng.normal(0, 0.3, (200, 6)), dtype=torch.float32)
    monitor = gwa_torch.AlignmentMonitor(model, "fc", num_examples=201, epochs=8, keep_samples=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    shown = []
    with pytest.raises(ValueError, match="no epoch is kept"):
        monitor.find_label_issues(labels)
    for _ in range(8):
        for rows in torch.as_tensor(rng.permutation(200)).split(50):
            targets = torch.as_tensor(labels)[rows]
            F.cross_entropy(model(images[rows]), targets).backward()
            optimizer.step()
            optimizer.zero_grad()
            monitor.update(targets, index=rows)
        monitor.end_epoch()
        shown.append(monitor.samples)
    all_labels = torch.as_tensor([*labels, 0])  # the last row never occurred
    issues = monitor.find_label_issues(all_labels)
    alignment, prediction = (np.stack([samples[name] for samples in shown]) for name in ("alignment", "prediction"))
    expected = gwa.find_label_issues(alignment, np.array([*labels, 0]), prediction)
    for name in ("label_quality", "is_label_issue", "predicted_label", "rank"):
        np.testing.assert_array_equal(getattr(issues, name), getattr(expected, name))
    assert set(np.argsort(issues.rank)[:20]) == set(range(20))
    assert (issues.predicted_label[:20] == clean[:20]).all()
    assert np.isnan(issues.label_quality[200])
    with pytest.raises(ValueError, match="labels are int64"):
        monitor.find_label_issues(labels)


def test_kept_samples_need_row_numbers(model):
    with pytest.raises(ValueError, match="num_examples must be given: keep_samples"):
        gwa_torch.AlignmentMonitor(model, "fc", keep_samples=True)
    monitor = gwa_torch.AlignmentMonitor(model, "fc", num_examples=48)
    train(model, monitor, torch.optim.SGD(model.parameters(), lr=1.0), update_first=True)
    monitor.end_epoch()
    with pytest.raises(ValueError, match="keep_samples=True"):
        monitor.find_label_issues(np.zeros(48, int))
