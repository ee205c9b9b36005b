"""What the tests of data sets share."""

import pytest
from small_cifar import write_cifar10_n


@pytest.fixture(scope="session")
def tfds_dir(tmp_path_factory):
    """A tfds data folder that holds a small `cifar10_n`."""
    directory = tmp_path_factory.mktemp("tensorflow_datasets")
    write_cifar10_n(directory)
    return directory
