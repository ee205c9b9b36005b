"""Predictions for picture files: those of the trainer's own evaluation, and every mistake is one line."""

import csv
import json
import os
import shutil

import flax.linen as nn
import image_folder
import jax
import numpy as np
import pytest
from PIL import Image
from run_scripts import check_refusal, run_script, start_script
from small_runs import cut_off, small

from repository import ROOT

import datasets
import networks
from configs import base
from datasets.feeds.augment import normalize
from datasets.pictures import LeftOut
from errors import UserError
from evaluation import predict
from evaluation.trained import load_trained
from networks.exported import Spec, TrainedNetwork
from training import loop
from training.run.durable import write_json
from training.run.restoring import load_params

RULES = ("max_gwa", "last")


def write_pictures(folder, test):
    """The images of a test set as PNG files in folders named by their labels."""
    for number, (image, label) in enumerate(zip(test.images, test.labels, strict=True)):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(folder / str(label) / f"{number:03}.png")
    return folder


def write_colours(file):
    """Four classes of noise about a colour, 10 × 6 pixels."""
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 4
    colours = rng.uniform(90, 160, (4, 1, 1, 3))
    images = np.clip(colours[labels] + rng.normal(0, 60, (90, 10, 6, 3)), 0, 255).astype(np.uint8)
    test = {"test_images": images[50:], "test_labels": labels[50:]}
    np.savez(file, images=images[:50], labels=labels[:50], **test)
    return file


def resident(folder, kind):
    """A run on images in memory, grey or in colour, and its test images as files."""
    options = {"stopping.rules": RULES, "stopping.warmup": 0.0, "optimizer.ema": 0.7, "eval_batch_size": 50}
    if kind == "colour":
        options |= {"dataset.name": "arrays", "dataset.path": str(write_colours(folder / "colours.npz"))}
        options |= {"dataset.train_examples": 0, "dataset.label_noise": {"kind": "none", "rate": 0.0}}
    config = small(**options)
    summary = loop.train(config, folder / "run")
    return folder / "run", write_pictures(folder / "pictures", datasets.build(config.dataset).test), summary


def of_folder(folder, feed):
    """A run on a folder of photographs of different sizes, streamed or in memory, and its test images."""
    config = base.get_config()
    config.epochs, config.batch_size, config.eval_batch_size = 2, 4, 4
    config.dataset.update({"name": "folder", "feed": feed, "image_size": 16})
    config.dataset.path, config.dataset.stream.resize = str(image_folder.write(folder / "images")), 20
    config.network.update({"name": "convnextv2", "patch_size": 4, "depths": (1,), "widths": (8,)})
    config.stopping.rules, config.stopping.warmup, config.optimizer.ema = RULES, 0.0, 0.7
    summary = loop.train(config, folder / "run")
    return folder / "run", folder / "images" / "test", summary


@pytest.fixture(scope="module")
def grey(tmp_path_factory):
    """The work directory, the folder of test pictures, and the summary."""
    return resident(tmp_path_factory.mktemp("grey"), "grey")


@pytest.fixture(scope="module", params=["grey", "colour", "stream", "resident"])
def run(request, tmp_path_factory, grey):
    """The same of four kinds of run: on arrays, and on a folder by two feeds."""
    if request.param == "grey":
        return grey
    folder = tmp_path_factory.mktemp(request.param)
    return resident(folder, "colour") if request.param == "colour" else of_folder(folder, request.param)


def read(file):
    with file.open(newline="") as content:
        return list(csv.DictReader(content))


@pytest.mark.parametrize(
    ("options", "rule", "prefix"), [([], "max_gwa", ""), (["--rule=last", "--ema"], "last", "ema_")]
)
def test_pictures_are_judged_as_the_trainer_judged_them(run, tmp_path, options, rule, prefix):
    workdir, pictures, summary = run
    output = tmp_path / "predictions.csv"
    result = run_script("predict.py", workdir, pictures, f"--output={output}", "--probabilities", *options)
    assert (result.returncode, result.stderr) == (0, "")
    rows = read(output)
    truth = [row["path"].split("/")[-2] for row in rows]
    names = load_trained(workdir).spec.class_names
    assert [name for name in rows[0] if name.startswith("p(")] == [f"p({name})" for name in names]
    assert len(rows) == summary["test_examples"]
    expected = summary["rules"][rule]
    right = np.mean([row["class"] == name for row, name in zip(rows, truth, strict=True)])
    assert right == pytest.approx(expected[f"{prefix}test_accuracy"], abs=1e-9)
    loss = np.mean([-np.log(float(row[f"p({name})"])) for row, name in zip(rows, truth, strict=True)])
    assert loss == pytest.approx(expected[f"{prefix}test_loss"], rel=1e-5)
    for row, line in zip(rows, result.stdout.splitlines(), strict=True):
        probabilities = [float(row[f"p({name})"]) for name in names]
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)
        assert row["class"] == names[np.argmax(probabilities)]
        assert float(row["probability"]) == max(probabilities)
        assert line.split() == [row["path"], row["class"], f"{max(probabilities):.4f}"]


def test_the_chosen_network_and_the_averaged_one_differ(run):
    """Otherwise the test above would not tell them apart."""
    _, _, summary = run
    assert summary["rules"]["max_gwa"]["test_loss"] != summary["rules"]["last"]["ema_test_loss"]


def test_the_command_of_the_page(grey):
    """As its users start it; files are taken in their order, whatever their names."""
    workdir, pictures, _ = grey
    files = sorted(pictures.rglob("*.png"))[:3][::-1]
    unusual = shutil.copy(files[0], workdir.parent / "picture")
    result = start_script("predict.py", workdir, unusual, *files)
    assert (result.returncode, result.stderr) == (0, "")
    assert [line.split()[0] for line in result.stdout.splitlines()] == list(map(str, [unusual, *files]))
    first, second, *_ = result.stdout.splitlines()
    assert first.split()[1:] == second.split()[1:]


def test_a_colour_picture_of_another_size_is_brought_into_shape(grey, tmp_path):
    """Each pixel of the grey run stands for 5 × 3 pixels with alpha of this picture."""
    workdir, pictures, _ = grey
    original = next(pictures.rglob("*.png"))
    pixels = np.asarray(Image.open(original))
    large = np.repeat(np.repeat(pixels, 5, axis=0), 3, axis=1)
    Image.fromarray(large).convert("RGBA").save(tmp_path / "large.png")
    network = load_trained(workdir)
    predictions = predict.predict(network, [original, tmp_path / "large.png"])
    np.testing.assert_allclose(*predictions.probabilities, rtol=1e-5)


class Counting(nn.Module):
    """Counts how often it is traced."""

    traces = 0

    @nn.compact
    def __call__(self, images, *, train=False):
        Counting.traces += 1
        return nn.Dense(3, name="head")(images.reshape(len(images), -1))


def test_one_program_serves_all_batches_and_skipped_pictures_leave_no_trace(tmp_path, monkeypatch):
    monkeypatch.setattr(predict, "BATCH_SIZE", 4)
    rng = np.random.default_rng(0)
    files = [tmp_path / f"{number:02}.png" for number in range(11)]
    images = rng.integers(0, 256, (11, 5, 4, 3), dtype=np.uint8)
    for file, image in zip(files, images, strict=True):
        Image.fromarray(image).save(file)
    model = Counting()
    params = {"head": {"kernel": rng.normal(size=(60, 3)).astype(np.float32), "bias": np.zeros(3, np.float32)}}
    spec = Spec({}, ("a", "b", "c"), (5, 4, 3), None, {"divide_by": 127.5, "add": -1.0}, "run", "last", 1, False)
    files[2].write_bytes(b"")
    files[9].write_bytes(files[9].read_bytes()[:40])
    predictions = predict.predict(TrainedNetwork(model, params, spec), files, skip=True)
    assert Counting.traces == 1
    kept = [number for number in range(11) if number not in (2, 9)]
    assert predictions.files == [files[number] for number in kept]
    assert list(predictions.skipped) == [files[2], files[9]]
    assert predictions.skipped[files[2]] == "the file is empty"
    flat = (images[kept].astype(np.float64) / 127.5 - 1).reshape(len(kept), -1)
    expected = np.exp(flat @ params["head"]["kernel"])
    np.testing.assert_allclose(predictions.probabilities, expected / expected.sum(axis=1, keepdims=True), rtol=1e-4)


def test_pixels_are_normalised_as_in_training(grey):
    network = load_trained(grey[0])
    scale = network.spec.normalization
    pixels = np.arange(256, dtype=np.uint8)
    ours = jax.numpy.asarray(pixels).astype(np.float32) / scale["divide_by"] + scale["add"]
    np.testing.assert_array_equal(ours, normalize(jax.numpy.asarray(pixels)))


def test_folders_are_searched_for_pictures(tmp_path):
    for name in ("b/x.JPG", "b/a/y.png", "a.webp", "notes.txt", ".hidden.png", "b/.cache/z.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "c").symlink_to(tmp_path / "b" / "a")
    left_out = LeftOut()
    found = predict.list_files([tmp_path / "notes.txt", tmp_path], left_out)
    names = ["notes.txt", "a.webp", "b/a/y.png", "b/x.JPG", "c/y.png"]
    assert [str(path.relative_to(tmp_path)) for path in found] == names
    assert str(left_out) == "1 × .txt (such as notes.txt), 2 × hidden (such as .hidden.png)"


def test_what_is_no_file_is_never_opened(tmp_path):
    """It would wait for ever."""
    os.mkfifo(tmp_path / "x.jpg")
    for path, message in (
        (tmp_path / "x.jpg", "x.jpg is neither"),
        (tmp_path, r"no pictures; it holds 1 × pipe, socket"),
    ):
        with pytest.raises(UserError, match=message):
            predict.list_files([path], LeftOut())


def test_a_picture_that_cannot_be_read_is_named(grey, tmp_path):
    workdir, pictures, _ = grey
    good, damaged = next(pictures.rglob("*.png")), tmp_path / "damaged.png"
    damaged.write_text("<html>404</html>")
    output = tmp_path / "predictions.csv"
    arguments = (workdir, good, damaged, f"--output={output}")
    check_refusal(run_script("predict.py", *arguments), f"{damaged} cannot be read", "--damaged=skip")
    assert not output.exists()
    result = run_script("predict.py", *arguments, "--damaged=skip")
    assert result.returncode == 0
    assert result.stderr == f"left out: {damaged} (not an image of a format that is read)\n"
    assert [row["path"] for row in read(output)] == [str(good)]
    result = run_script("predict.py", workdir, damaged, "--damaged=skip", f"--output={output}")
    assert (result.returncode, result.stdout, read(output)) == (0, "", [])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["{pictures}", "--rule=oracle"], "--rule is 'oracle'; the rules of {workdir} are max_gwa, last"),
        (["{workdir}/nowhere"], "there is no picture and no folder {workdir}/nowhere"),
        (["{workdir}/checkpoints"], "{workdir}/checkpoints holds no pictures; it holds "),
        (["{pictures}", "--output={workdir}/nowhere/x.csv"], "--output: there is no folder {workdir}/nowhere"),
        (["{pictures}", "--output={workdir}"], "--output: {workdir} is a folder; name a file"),
        (["{pictures}", "--output={workdir}/history.jsonl"], "history.jsonl is a record of the run in {workdir}"),
        (["{workdir}/labels.npz", "--output={workdir}/labels.npz"], "is one of the files to read"),
        (["{pictures}", "--probabilities"], "--probabilities adds columns to a file, but there is no --output"),
        (["{pictures}", "--damaged=ignore"], "'ignore'"),
        ([], "pictures"),
    ],
)
def test_mistakes_are_one_line(grey, arguments, says):
    workdir, pictures, _ = grey
    names = {"workdir": workdir, "pictures": pictures}
    check_refusal(
        run_script("predict.py", workdir, *(argument.format(**names) for argument in arguments)), says.format(**names)
    )


def test_runs_that_cannot_predict_are_refused(grey, tmp_path):
    workdir, pictures, summary = grey
    with cut_off(after=5):
        loop.train(small(), tmp_path / "interrupted")
    check_refusal(run_script("predict.py", tmp_path / "interrupted", pictures), "interrupted holds no finished run")
    broken = shutil.copytree(workdir, tmp_path / "broken")
    shutil.rmtree(broken / "checkpoints" / "last")
    check_refusal(run_script("predict.py", broken, pictures, "--rule=last"), "there is no checkpoint", "last/3")
    (broken / "labels.npz").unlink()
    check_refusal(run_script("predict.py", broken, pictures), "holds no labels.npz")
    rules = summary["rules"] | {"last": dict.fromkeys(summary["rules"]["last"])}
    write_json(broken / "summary.json", summary | {"rules": rules})
    check_refusal(
        run_script("predict.py", broken, pictures, "--rule=last"),
        "the rule last has kept no epoch; --rule names another one",
    )


def test_an_older_run_finds_the_shape_of_its_images_in_its_data(grey, tmp_path):
    workdir = shutil.copytree(ROOT / "tests" / "support" / "old_run", tmp_path / "old")
    assert "image_shape" not in json.loads((workdir / "summary.json").read_text())
    network = load_trained(workdir)
    assert network.spec.image_shape == (8, 8, 1)
    summary = json.loads((workdir / "summary.json").read_text())
    predictions = predict.predict(network, predict.list_files([grey[1]], LeftOut()))
    chosen = predictions.probabilities.argmax(axis=1)
    right = np.mean([int(file.parent.name) == label for file, label in zip(predictions.files, chosen, strict=True)])
    assert right == pytest.approx(summary["rules"]["max_gwa"]["test_accuracy"], abs=1e-9)
    check_refusal(run_script("predict.py", workdir, grey[1], "--ema"), "keeps no averaged parameters")


def test_the_parameters_are_those_of_the_checkpoint(grey):
    workdir, _, summary = grey
    for rule in RULES:
        for folder, averaged in (("", False), ("ema", True)):
            network = load_trained(workdir, rule, averaged)
            expected = load_params(workdir / summary["rules"][rule]["checkpoint"] / folder)
            jax.tree.map(np.testing.assert_array_equal, network.params, expected)
            assert (network.spec.rule, network.spec.epoch) == (rule, summary["rules"][rule]["epoch"])
            assert network.spec.averaged == averaged
            assert isinstance(network.model, type(networks.build(small().network, 10)))
