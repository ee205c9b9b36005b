"""Judging checkpoints on JPEGs that are decoded meanwhile, by a network of random weights."""

import json

import cv2
import flax.linen as nn
import jax
import numpy as np
import pytest
from PIL import Image

import datasets
import networks
from configs import base
from datasets.examples import StreamedExamples
from datasets.feeds.augment import normalize
from datasets.feeds.decoding import crop_for_evaluation
from datasets.folders import ImageFiles
from errors import UserError
from evaluation import corrupted_sets, evaluate
from evaluation.evaluate import evaluate_checkpoints
from evaluation.test_sets import open_test_set
from training.run.json_objects import read_object


def test_imagenet_c_is_decoded_while_it_is_evaluated(tmp_path, monkeypatch):
    """Each image once, as it lies there, without the resizing and the central crop of other test sets."""
    names, rng = ("n1", "n2"), np.random.default_rng(0)
    corruptions = {"noise": "shot_noise", "blur": "zoom_blur", "weather": "fog", "digital": "pixelate"}
    monkeypatch.setattr(corrupted_sets, "BENCHMARK", tuple(corruptions.values()))
    for group, corruption in corruptions.items():
        for name in (*names, *names, *names):
            folder = tmp_path / "imagenet_c" / group / corruption / "2" / name
            folder.mkdir(parents=True, exist_ok=True)
            coarse = rng.integers(0, 256, (3, 3, 3), dtype=np.uint8)
            cv2.imwrite(str(folder / f"{len(list(folder.iterdir()))}.JPEG"), cv2.resize(coarse, (224, 224)))
    damaged = tmp_path / "imagenet_c" / "weather" / "fog" / "2" / "n2" / "1.JPEG"
    damaged.write_bytes(damaged.read_bytes()[:200])

    params = {"head": {"kernel": rng.normal(size=(224 * 224 * 3, 2)).astype(np.float32)}}
    monkeypatch.setattr(evaluate, "load_params", lambda path: params)
    monkeypatch.setattr(networks, "build", lambda *_: Linear())
    config = base.get_config()
    config.eval_batch_size, config.dataset.image_size, config.dataset.stream.damaged = 4, 224, "skip"
    splits = datasets.Splits(StreamedExamples.of(None, np.arange(2), 224), None, None, names)
    test_set = open_test_set("imagenet_c", str(tmp_path), config, splits, [2])
    rules = {"last": {"epoch": 1, "checkpoint": "there"}}
    (result,) = evaluate_checkpoints(tmp_path, config, rules, splits, {"imagenet_c": test_set}).values()
    assert result["skipped"] == [str(damaged)]
    for corruption, by_severity in result["rules"]["last"]["accuracy"].items():
        right = []
        for file in sorted((tmp_path / "imagenet_c").glob(f"*/{corruption}/2/*/*.JPEG")):
            if file != damaged:
                image = np.asarray(Image.open(file)).astype(np.float32) / 127.5 - 1
                right.append(names[np.argmax(image.ravel() @ params["head"]["kernel"])] == file.parent.name)
        assert by_severity == {"2": pytest.approx(np.mean(right))}


class Linear(nn.Module):
    """Its logits are one product, so what it should say is easily computed apart from it."""

    classes: int = 2

    @nn.compact
    def __call__(self, images, *, train=False):
        return nn.Dense(self.classes, use_bias=False, name="head")(images.reshape(len(images), -1))


CLASSES = tuple(f"n{number:02}" for number in range(12))
RULES = {
    "max_gwa": {"epoch": 2, "checkpoint": "early"},
    "last": {"epoch": 5, "checkpoint": "late"},
    "again": {"epoch": 2, "checkpoint": "early"},
    "nothing": {"epoch": None, "checkpoint": None},
}


@pytest.fixture
def streamed(monkeypatch):
    """The config of a streamed run, and two checkpoints by name; the network has no other weights than theirs."""
    config = base.get_config()
    config.eval_batch_size = 3
    config.dataset.feed, config.dataset.image_size = "stream", 16
    config.dataset.stream.update({"threads": 2, "resize": 20})
    rng = np.random.default_rng(1)
    kernels = {name: rng.normal(size=(16 * 16 * 3, 12)).astype(np.float32) for name in ("early", "late")}
    monkeypatch.setattr(evaluate, "load_params", lambda path: {"head": {"kernel": kernels[path.name]}})
    monkeypatch.setattr(networks, "build", lambda config, num_classes: Linear(num_classes))
    return config, kernels


def predict(kernel, path):
    image = crop_for_evaluation(path.read_bytes(), 20, 16)
    return int(np.argmax(np.asarray(normalize(jax.numpy.asarray(image))).ravel() @ kernel))


@pytest.fixture
def photographs(tmp_path):
    """Seven images of noise, not square and larger than what is shown of them: three where `early` is right."""
    return [write_photograph(tmp_path, number) for number in range(7)]


def write_photograph(folder, number):
    coarse = np.random.default_rng([2, number]).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    path = folder / f"ILSVRC2012_val_{number + 1:08}.JPEG"
    cv2.imwrite(str(path), cv2.resize(coarse, (50, 40)))
    return path


def sort_into_folders(folder, photographs, kernel):
    """By class, of which the first three are what the kernel predicts; numbers are read as classes."""
    sorted_ = []
    for number, path in enumerate(photographs):
        label = predict(kernel, path) if number < 3 else [10, 2, 0, 11][number - 3]
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        sorted_.append(path.rename(folder / str(label) / path.name))
    return sorted_


def evaluate_streamed(tmp_path, config, test, name):
    splits = datasets.Splits(test, None, test, CLASSES)
    test_set = open_test_set(name, str(tmp_path), config, splits)
    return evaluate_checkpoints(tmp_path, config, RULES, splits, {name: test_set})[name]


NO_TEST = StreamedExamples.of(None, np.arange(2), 16)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_each_image_counts_once_at_any_batch_size(tmp_path, streamed, photographs, batch_size):
    config, kernels = streamed
    config.eval_batch_size = batch_size
    paths = sort_into_folders(tmp_path / "imagenet_v2", photographs, kernels["early"])
    expected = {
        name: np.mean([predict(kernel, path) == int(path.parent.name) for path in paths])
        for name, kernel in kernels.items()
    }
    assert 3 / 7 <= expected["early"] < 1
    (tmp_path / "external.json").write_text('{"imagenet_v2": {}, "another": {"rules": {}}}')
    result = evaluate_streamed(tmp_path, config, NO_TEST, "imagenet_v2")
    assert read_object(tmp_path / "evaluations.json") == {"imagenet_v2": result, "another": {"rules": {}}}
    assert result.pop("seconds") > 0
    assert result == {
        "examples": 7,
        "rules": {
            "max_gwa": {"epoch": 2, "accuracy": pytest.approx(expected["early"])},
            "last": {"epoch": 5, "accuracy": pytest.approx(expected["late"])},
            "again": {"epoch": 2, "accuracy": pytest.approx(expected["early"])},
            "nothing": {"epoch": None, "accuracy": None},
        },
    }


def test_any_right_class_counts(tmp_path, streamed, photographs):
    config, kernels = streamed
    early = [predict(kernels["early"], path) for path in photographs]
    others = [(label + 1) % 12 for label in early]
    lists = [[early[0]], [], [others[2], early[2]], [others[3]], [], [early[5], 0], [others[6]]]
    (tmp_path / "real.json").write_text(json.dumps(lists))
    order = [4, 2, 6, 0, 1, 5, 3]
    files = ImageFiles(tmp_path, [photographs[i].name for i in order])
    result = evaluate_streamed(tmp_path, config, StreamedExamples.of(files, np.zeros(7, int), 16), "imagenet_real")
    assert result["examples"] == 5
    assert result["rules"]["max_gwa"]["accuracy"] == pytest.approx(3 / 5)
    late = [predict(kernels["late"], path) in right for path, right in zip(photographs, lists, strict=True) if right]
    assert result["rules"]["last"]["accuracy"] == pytest.approx(np.mean(late))


def test_damaged_images_fail_or_are_left_out_and_named(tmp_path, streamed, photographs):
    config, kernels = streamed
    paths = sort_into_folders(tmp_path / "imagenet_v2", photographs, kernels["early"])
    paths[3].write_bytes(paths[3].read_bytes()[:200])
    with pytest.raises(UserError, match=rf"{paths[3].name} cannot be decoded"):
        evaluate_streamed(tmp_path, config, NO_TEST, "imagenet_v2")
    config.dataset.stream.damaged = "skip"
    result = evaluate_streamed(tmp_path, config, NO_TEST, "imagenet_v2")
    assert (result["examples"], result["skipped"]) == (6, [str(paths[3])])


def test_a_malformed_file_shows_before_anything_is_evaluated(tmp_path, streamed, photographs, monkeypatch):
    config, kernels = streamed
    sort_into_folders(tmp_path / "imagenet_v2", photographs, kernels["early"])
    (tmp_path / "evaluations.json").write_text("{")
    monkeypatch.setattr(evaluate, "load_params", None)
    with pytest.raises(UserError, match=r"evaluations\.json is not JSON"):
        evaluate_streamed(tmp_path, config, NO_TEST, "imagenet_v2")
