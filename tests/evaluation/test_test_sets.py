"""Sets of images that are judged as they are: which images they have, which classes are right, what is refused."""

import json
import pathlib
import subprocess
import sys

import cv2
import numpy as np
import pytest
from small_imagenet import write_imagenet2012

from repository import ROOT

import datasets
from configs import base
from datasets import Splits, StreamedExamples
from datasets.folders import ImageFiles
from errors import UserError
from evaluation.test_sets import open_requested, open_test_set, read_real, read_tfds

CLASSES = tuple(f"n{number:02}" for number in range(12))


def write_image(file):
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), np.zeros((50, 40, 3), np.uint8))


@pytest.fixture
def config():
    config = base.get_config()
    config.dataset.feed, config.dataset.image_size = "stream", 16
    config.dataset.stream.resize = 20
    return config


@pytest.fixture
def splits(tmp_path):
    """Eight validation images of ImageNet, whose numbers are in another order than the rows."""
    labels = [3, 0, 7, 3, 1, 11, 0, 5]
    names = sorted(f"{CLASSES[label]}/ILSVRC2012_val_{number:08}.JPEG" for number, label in enumerate(labels, 1))
    test = StreamedExamples.of(ImageFiles(tmp_path, names), np.array([CLASSES.index(name[:3]) for name in names]), 16)
    return Splits(test, None, test, CLASSES)


@pytest.fixture
def v2(tmp_path):
    """Seven images in folders that are numbers of classes; 10 comes before 2 in the folder, but not as a class."""
    for number, label in enumerate([2, 10, 10, 0, 2, 11, 2]):
        write_image(tmp_path / "sets" / "imagenet_v2" / str(label) / f"{number}.jpeg")
    return tmp_path / "sets"


def name_classes(folder):
    for path in list(folder.iterdir()):
        path.rename(path.with_name(CLASSES[int(path.name)]))


def list_images(test_set):
    """Names and labels, which are the only right answers."""
    examples = test_set.read(None, np.arange(len(test_set.answers)))
    assert np.array_equal(test_set.answers, examples.labels[:, None])
    names = [pathlib.Path(examples.encoded.name(row)).name for row in examples.rows]
    return sorted(zip(names, examples.labels.tolist(), strict=True))


def test_folders_may_have_names_or_numbers_and_be_the_path_itself(config, splits, v2):
    expected = [(f"{number}.jpeg", label) for number, label in enumerate([2, 10, 10, 0, 2, 11, 2])]
    assert list_images(open_test_set("imagenet_v2", str(v2), config, splits)) == expected
    assert list_images(open_test_set("another", str(v2 / "imagenet_v2"), config, splits)) == expected
    name_classes(v2 / "imagenet_v2")
    assert list_images(open_test_set("imagenet_v2", str(v2), config, splits)) == expected


def test_a_run_of_some_classes_leaves_the_others_out(config, splits, v2):
    some = Splits(splits.train, None, splits.test, (CLASSES[10], CLASSES[0]))
    config.dataset.classes = some.class_names
    with pytest.raises(UserError, match=r"class folders in .* are numbered.*imagenet_v2\.py renames the folders"):
        open_test_set("imagenet_v2", str(v2), config, some)
    name_classes(v2 / "imagenet_v2")
    assert open_test_set("imagenet_v2", str(v2), config, some).answers.tolist() == [[1], [0], [0]]
    config.dataset.classes = None
    with pytest.raises(UserError, match="n02 is no class of the run, whose classes are n10, n00"):
        open_test_set("imagenet_v2", str(v2), config, some)


def test_real_has_all_right_classes_and_leaves_out_images_without(tmp_path, config, splits):
    lists = [[1], [], [2, 3], [4], [], [6, 0, 11], [7], [8]]
    (tmp_path / "real.json").write_text(json.dumps(lists))
    test_set = open_test_set("imagenet_real", str(tmp_path), config, splits)
    examples = test_set.read(None, np.arange(6))
    numbers = [int(examples.encoded.name(row)[-13:-5]) for row in examples.rows]
    assert sorted(numbers) == [1, 3, 4, 6, 7, 8]
    for number, answers in zip(numbers, test_set.answers.tolist(), strict=True):
        assert answers == lists[number - 1] + [-1] * (3 - len(lists[number - 1]))


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
        open_test_set("imagenet_real", str(tmp_path), config, splits)


def test_what_is_missing_is_refused(tmp_path, config, splits):
    config.evaluate = ("imagenet_v2",)
    with pytest.raises(UserError, match=r"no further test set 'imagenet_v2'; .* with evaluate_path set, imagenet_real"):
        open_requested(config, splits)
    config.evaluate_path = str(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"evaluate_path: there is no folder .*nowhere"):
        open_requested(config, splits)
    (tmp_path / "nowhere").mkdir()
    with pytest.raises(UserError, match="nowhere holds no folders of the run's classes, which are n00, n01, n02, "):
        open_requested(config, splits)
    (tmp_path / "nowhere" / "n03").mkdir()
    with pytest.raises(UserError, match="n03 holds no images"):
        open_requested(config, splits)


@pytest.mark.parametrize("options", [{"severities": [1]}, {"num_examples": 5}])
def test_options_of_corruptions_are_refused(config, splits, v2, options):
    with pytest.raises(UserError, match="for corruptions; imagenet_v2 is evaluated whole"):
        open_test_set("imagenet_v2", str(v2), config, splits, **options)


def test_resident_runs_are_refused(config, v2):
    train = datasets.Examples.of(np.zeros((2, 16, 16, 3), np.uint8), np.arange(2), None)
    with pytest.raises(UserError, match=r"imagenet_v2 is for runs with dataset\.feed=stream"):
        open_test_set("imagenet_v2", str(v2), config, Splits(train, None, train, CLASSES))


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """A tfds folder with a small ImageNet, and its splits."""
    directory = tmp_path_factory.mktemp("tensorflow_datasets")
    write_imagenet2012(directory)
    config = base.get_config()
    config.dataset.update({"name": "imagenet2012", "path": str(directory), "feed": "stream", "image_size": 16})
    return str(directory), datasets.build(config.dataset)


def test_classes_of_a_tfds_set_are_found_by_name(imagenet):
    """A run of two classes leaves the others out."""
    path, splits = imagenet
    shape = splits.train.image_shape
    whole = read_tfds("imagenet2012", path, splits.class_names, shape, some_classes=False)
    assert whole.labels.tolist() == splits.test.labels.tolist()
    first, second = splits.test.labels[:2]
    two = (splits.class_names[second], splits.class_names[first])
    kept = read_tfds("imagenet2012", path, two, shape, some_classes=True)
    assert sorted(kept.rows) == np.flatnonzero(np.isin(splits.test.labels, [first, second])).tolist()
    assert kept.labels.tolist() == [int(label == first) for label in splits.test.labels[kept.rows]]
    with pytest.raises(UserError, match="has a class n01440764; the run's classes are"):
        read_tfds("imagenet2012", path, two, shape, some_classes=False)
    with pytest.raises(UserError, match="no images of the run's classes, which are elsewhere"):
        read_tfds("imagenet2012", path, ("elsewhere",), shape, some_classes=True)
    assert read_tfds("imagenet_v2", path, splits.class_names, shape, some_classes=False) is None


def test_real_finds_the_images_of_tfds_by_name(imagenet, tmp_path):
    """Of the twelve, every third image has no label; the others have their number and, as a second one, 999."""
    _, splits = imagenet
    (tmp_path / "real.json").write_text(json.dumps([[] if i % 3 == 0 else [i, 999] for i in range(12)]))
    test_set = read_real(tmp_path, splits.test, tuple(sorted(splits.class_names)))
    examples = test_set.read(None, np.arange(8))
    numbers = [int(examples.encoded.name(row)[-13:-5]) - 1 for row in examples.rows]
    assert sorted(numbers) == [1, 2, 4, 5, 7, 8, 10, 11]
    assert test_set.answers.tolist() == [[i, 999] for i in numbers]


def test_scipy_is_imported_only_to_corrupt_images():
    """A start without evaluation, and evaluation on files, do not pay for it."""
    program = (
        "import sys, training.loop; print(*(name in sys.modules for name in ('evaluation', 'scipy', 'sklearn')));"
        "import evaluation.evaluate, evaluation.corrupted_sets; print('scipy' in sys.modules)"
    )
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, cwd=ROOT / "src", capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False"] * 4
