"""Sets that tfds has prepared, streamed as they are stored."""

import cv2
import numpy as np
import pytest
from small_imagenet import COUNTS, labels, write_imagenet2012

import datasets
from configs import base
from datasets.feeds.order import BatchOrder
from datasets.feeds.stream import Stream


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
