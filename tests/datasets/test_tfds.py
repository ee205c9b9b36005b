"""Sets that tfds has prepared, streamed as they are stored."""

import json

import cv2
import numpy as np
import pytest
from small_imagenet import COUNTS, labels, write_imagenet2012

import datasets
from configs import base
from datasets.feeds.order import BatchOrder
from datasets.feeds.stream import Stream
from errors import UserError
from evaluation.external_sets import prepared_by_tfds, reassessed


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tensorflow_datasets")
    write_imagenet2012(directory)
    return directory


@pytest.fixture
def config(imagenet):
    config = base.get_config()
    config.dataset.update({"name": "imagenet2012", "path": str(imagenet), "feed": "stream", "image_size": 16})
    config.dataset.stream.resize = 20
    return config


def number(name):
    return int(name[-13:-5]) - 1


def test_images_keep_their_labels_and_names(imagenet, config):
    splits = datasets.build(config.dataset)
    assert len(splits.class_names) == 1000
    for split, examples in (("train", splits.train), ("validation", splits.test)):
        names = [examples.encoded.name(row) for row in examples.rows]
        assert sorted(map(number, names)) == list(range(COUNTS[split]))
        assert examples.labels.tolist() == labels(split)[[number(name) for name in names]].tolist()
        for row, name in zip(examples.rows, names, strict=True):
            stored = cv2.imdecode(np.frombuffer(examples.encoded.read(row), np.uint8), cv2.IMREAD_COLOR)
            assert stored.shape == (60 - number(name), 40 + number(name), 3)


@pytest.mark.parametrize("options", [{"threads": 3}, {"workers": 1}])
def test_threads_and_processes_give_the_same_crops(config, options):
    examples = datasets.build(config.dataset).train

    def crops():
        reading = Stream(examples, config).read(BatchOrder(30, 15, 2, seed=0), np.arange(15), epoch=1, block=0)
        images = next(reading)["image"]
        reading.close()
        return images

    config.dataset.stream.threads = 1
    alone = crops()
    config.dataset.stream.update(options)
    assert np.array_equal(crops(), alone)
    assert alone.std() > 10


def test_a_test_set_that_tfds_has_prepared(imagenet, config):
    """Its classes are found by name; a run of two classes leaves the others out."""
    splits = datasets.build(config.dataset)
    shape = splits.train.image_shape
    whole = prepared_by_tfds("imagenet2012", str(imagenet), splits.class_names, shape, part=False)
    assert whole.examples.labels.tolist() == splits.test.labels.tolist()
    first, second = splits.test.labels[:2]
    two = (splits.class_names[second], splits.class_names[first])
    part = prepared_by_tfds("imagenet2012", str(imagenet), two, shape, part=True)
    assert sorted(part.examples.rows) == np.flatnonzero(np.isin(splits.test.labels, [first, second])).tolist()
    assert part.examples.labels.tolist() == [int(label == first) for label in splits.test.labels[part.examples.rows]]
    assert list(part.answers) == [frozenset([label]) for label in part.examples.labels]
    with pytest.raises(UserError, match="has a class n01440764; the run's classes are"):
        prepared_by_tfds("imagenet2012", str(imagenet), two, shape, part=False)
    assert prepared_by_tfds("imagenet_v2", str(imagenet), splits.class_names, shape, part=False) is None


def test_reassessed_labels_find_their_images_by_name(config, tmp_path):
    """Of the twelve, every third image has no label; the others have their number and, as a second one, 999."""
    splits = datasets.build(config.dataset)
    answers = [[] if i % 3 == 0 else [i, 999] for i in range(12)]
    (tmp_path / "real.json").write_text(json.dumps(answers))
    found = reassessed(tmp_path, splits.test, tuple(sorted(splits.class_names)))
    images = found.examples.encoded
    numbers = [number(images.name(row)) for row in found.examples.rows]
    assert sorted(numbers) == [1, 2, 4, 5, 7, 8, 10, 11]
    assert list(found.answers) == [frozenset([i, 999]) for i in numbers]
