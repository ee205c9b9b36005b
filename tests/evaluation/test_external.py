"""Accuracy on further sets of images, with a small network of random weights and small JPEGs."""

import json
import pathlib

import cv2
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import networks
from configs import base
from datasets import Splits, StreamedExamples
from datasets.feeds.augment import normalize
from datasets.feeds.decoding import crop_for_evaluation
from datasets.folders import ImageFiles
from errors import UserError
from evaluation import external

SHAPE = (16, 16, 3)
CLASSES = tuple(f"n{number:02}" for number in range(12))


@jax.jit
def linear(params, images):
    return images.reshape(len(images), -1) @ params["kernel"]


class Linear(nn.Module):
    """Its logits are one product, so what it should say is easily computed apart from it."""

    @nn.compact
    def __call__(self, images, *, train=False):
        return images.reshape(len(images), -1) @ self.param("kernel", nn.initializers.normal(), (16 * 16 * 3, 12))


def write_image(file, rng):
    """A photograph of noise, larger than what is shown of it and not square."""
    file.parent.mkdir(parents=True, exist_ok=True)
    coarse = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    cv2.imwrite(str(file), cv2.resize(coarse, (50, 40)))


def predicted(params, path):
    images = normalize(jnp.asarray(crop_for_evaluation(path.read_bytes(), 20, 16))[None])
    return int(np.argmax(linear(params, images)))


@pytest.fixture
def config():
    config = base.get_config()
    config.eval_batch_size = 3
    config.dataset.feed, config.dataset.image_size = "stream", 16
    config.dataset.stream.update({"threads": 2, "resize": 20})
    return config


@pytest.fixture
def checkpoints(monkeypatch):
    """Two of them, by the path that a rule gives; the network has no other weights than the checkpoint's."""
    rng = np.random.default_rng(1)
    params = {name: {"kernel": rng.normal(size=(16 * 16 * 3, 12)).astype(np.float32)} for name in ("early", "late")}
    monkeypatch.setattr(external, "load_params", lambda path: params[path.name])
    monkeypatch.setattr(networks, "build", lambda config, num_classes: Linear())
    return params


RULES = {
    "max_gwa": {"epoch": 2, "checkpoint": "early"},
    "last": {"epoch": 5, "checkpoint": "late"},
    "again": {"epoch": 2, "checkpoint": "early"},
    "nothing": {"epoch": None, "checkpoint": None},
}


@pytest.fixture
def splits(tmp_path):
    """Eight validation images of ImageNet, in folders of classes: their numbers are in another order than the rows."""
    rng = np.random.default_rng(0)
    labels = [3, 0, 7, 3, 1, 11, 0, 5]
    for number, label in enumerate(labels, 1):
        write_image(tmp_path / "val" / CLASSES[label] / f"ILSVRC2012_val_{number:08}.JPEG", rng)
    return listed(sorted((tmp_path / "val").glob("*/*")))


def listed(paths):
    labels = np.array([CLASSES.index(path.parent.name) for path in paths], np.int32)
    test = StreamedExamples.of(ImageFiles(pathlib.Path("/"), [str(path) for path in paths]), labels, SHAPE[0])
    return Splits(test, None, test, CLASSES)


@pytest.fixture
def v2(tmp_path):
    """Seven images in folders that are numbers of classes; 10 comes before 2 in the folder, but not as a class."""
    rng = np.random.default_rng(2)
    for number, label in enumerate([2, 10, 10, 0, 2, 11, 2]):
        write_image(tmp_path / "sets" / "imagenet_v2" / str(label) / f"{number}.jpeg", rng)
    return tmp_path / "sets"


def evaluated(tmp_path, config, splits, name, path):
    test_set = external.open_set(name, str(path), config, splits)
    return external.measure(tmp_path, config, RULES, splits, name, test_set)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_each_image_counts_once_at_any_batch_size(tmp_path, config, checkpoints, splits, v2, batch_size):
    config.eval_batch_size = batch_size
    paths = sorted((v2 / "imagenet_v2").glob("*/*"))
    # Three images move to where the first checkpoint is right, so that it is at all.
    answers = {name: [predicted(checkpoints[name], path) for path in paths] for name in checkpoints}
    for path, answer in list(zip(paths, answers["early"], strict=True))[:3]:
        renamed = v2 / "imagenet_v2" / str(answer) / f"moved_{path.name}"
        renamed.parent.mkdir(exist_ok=True)
        path.rename(renamed)
    for folder in (v2 / "imagenet_v2").iterdir():
        if not any(folder.iterdir()):
            folder.rmdir()
    paths = sorted((v2 / "imagenet_v2").glob("*/*"))
    expected = {
        name: np.mean([predicted(params, path) == int(path.parent.name) for path in paths])
        for name, params in checkpoints.items()
    }
    assert expected["early"] > 0
    result = evaluated(tmp_path, config, splits, "imagenet_v2", v2)
    assert result == {
        "examples": 7,
        "rules": {
            "max_gwa": {"epoch": 2, "accuracy": pytest.approx(expected["early"])},
            "last": {"epoch": 5, "accuracy": pytest.approx(expected["late"])},
            "again": {"epoch": 2, "accuracy": pytest.approx(expected["early"])},
            "nothing": {"epoch": None, "accuracy": None},
        },
    }
    assert json.loads((tmp_path / "external.json").read_text()) == {"imagenet_v2": result}


def test_folders_may_have_names_or_numbers_and_be_the_path_itself(tmp_path, config, checkpoints, splits, v2):
    by_number = evaluated(tmp_path, config, splits, "imagenet_v2", v2)
    assert evaluated(tmp_path, config, splits, "another", v2 / "imagenet_v2") == by_number
    for folder in list((v2 / "imagenet_v2").iterdir()):
        folder.rename(folder.with_name(CLASSES[int(folder.name)]))
    assert evaluated(tmp_path, config, splits, "imagenet_v2", v2) == by_number
    assert list(json.loads((tmp_path / "external.json").read_text())) == ["imagenet_v2", "another"]


def test_real_counts_any_right_class_and_leaves_out_images_without(tmp_path, config, checkpoints, splits):
    paths = {int(path.stem[-8:]): path for path in (tmp_path / "val").glob("*/*")}
    answers = {number: predicted(checkpoints["early"], path) for number, path in paths.items()}
    others = {number: (answer + 1) % 12 for number, answer in answers.items()}
    lists = [[answers[1]], [], [others[3], answers[3]], [others[4]], [], [answers[6], 0], [others[7]], [others[8]]]
    (tmp_path / "real.json").write_text(json.dumps(lists))
    result = evaluated(tmp_path, config, splits, "imagenet_real", tmp_path)
    assert result["examples"] == 6
    assert result["rules"]["max_gwa"]["accuracy"] == pytest.approx(3 / 6)
    late = [predicted(checkpoints["late"], paths[n]) in lists[n - 1] for n in paths if lists[n - 1]]
    assert result["rules"]["last"]["accuracy"] == pytest.approx(np.mean(late))


def test_damaged_images_fail_or_are_left_out_and_named(tmp_path, config, checkpoints, splits, v2):
    path = v2 / "imagenet_v2" / "10" / "1.jpeg"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=r"1\.jpeg cannot be decoded"):
        evaluated(tmp_path, config, splits, "imagenet_v2", v2)
    config.dataset.stream.damaged = "skip"
    result = evaluated(tmp_path, config, splits, "imagenet_v2", v2)
    assert (result["examples"], result["skipped"]) == (6, [str(path)])


def test_a_run_of_some_classes_leaves_the_others_out(tmp_path, config, checkpoints, splits, v2):
    part = Splits(splits.train, None, splits.test, (CLASSES[10], CLASSES[0]))
    config.dataset.classes = part.class_names
    with pytest.raises(UserError, match=r"has numbers for classes.*imagenet_v2\.py gives them names"):
        external.open_set("imagenet_v2", str(v2), config, part)
    for folder in list((v2 / "imagenet_v2").iterdir()):
        folder.rename(folder.with_name(CLASSES[int(folder.name)]))
    assert external.open_set("imagenet_v2", str(v2), config, part).examples.labels.tolist() == [1, 0, 0]
    config.dataset.classes = None
    with pytest.raises(UserError, match="n02 is no class of the run, whose classes are n10, n00"):
        external.open_set("imagenet_v2", str(v2), config, part)


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        (None, r"there is no .*real\.json; scripts/prepare/imagenet_real\.py puts it there"),
        ("[[", "is not JSON"),
        ([[1]] * 9, "is about images 1 to 9, but the run's test set has 8, 1 to 8"),
        ([[12]] * 8, "has class 12, but the run only 12 classes"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path, config, splits, lists, message):
    if lists is not None:
        (tmp_path / "real.json").write_text(lists if isinstance(lists, str) else json.dumps(lists))
    with pytest.raises(UserError, match=message):
        external.open_set("imagenet_real", str(tmp_path), config, splits)


def test_what_is_missing_is_refused(tmp_path, config, splits):
    config.evaluate = ("imagenet_c", "imagenet_v2")
    with pytest.raises(UserError, match=r"no further test set 'imagenet_v2'; .* with evaluate_path set, imagenet_real"):
        external.requested(config, splits)
    config.evaluate_path = str(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"evaluate_path: there is no folder .*nowhere"):
        external.requested(config, splits)
    (tmp_path / "nowhere").mkdir()
    with pytest.raises(UserError, match="nowhere holds no folders of the run's classes, which are n00, n01, n02, "):
        external.requested(config, splits)
    (tmp_path / "nowhere" / "n03").mkdir()
    with pytest.raises(UserError, match="n03 holds no images"):
        external.requested(config, splits)
