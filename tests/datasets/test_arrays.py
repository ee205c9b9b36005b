"""Each source delivers the images and labels that were put into it, and refuses in one line what it cannot read."""

import shutil
import sys
import types

import numpy as np
import pytest
from ml_collections import ConfigDict
from small_cifar import cifar10_n_arrays

import datasets
from configs import base
from datasets import Examples, Source, cache, tfds
from errors import UserError


def config(**fields) -> ConfigDict:
    config = base.get_config().dataset
    config.update(fields)
    return config


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    splits = datasets.build(config(name="digits"))
    digits = load_digits()
    assert (len(splits.train), len(splits.test)) == (1438, 359)
    assert sorted([*splits.train.rows, *splits.test.rows]) == list(range(1797))
    for examples in (splits.train, splits.test):
        # 16 grey levels spread over a byte, and back again.
        assert np.array_equal(np.round(examples.images[..., 0] / (255 / 16)), digits.images[examples.rows])
        assert np.array_equal(examples.labels, digits.target[examples.rows])
    assert np.bincount(splits.test.labels).min() >= 34


def rows_of(examples, images):
    """Which of `images` each example is, found by its pixels."""
    return [int(np.flatnonzero((images == image).all(axis=(1, 2, 3)))[0]) for image in examples.images]


@pytest.mark.parametrize("label_key", ["label", "aggre_label", "random_label1", "worse_label"])
def test_tfds_labels_stay_with_their_images(tfds_dir, label_key):
    splits = datasets.build(config(name="cifar10_n", path=str(tfds_dir), label_key=label_key))
    images, labels, human = cifar10_n_arrays("train")
    rows = rows_of(splits.train, images)
    assert sorted(rows) == list(range(60))
    assert np.array_equal(splits.train.labels, (labels if label_key == "label" else human)[rows])
    assert np.array_equal(splits.train.clean_labels, labels[rows])
    test_images, test_labels, _ = cifar10_n_arrays("test")
    assert np.array_equal(splits.test.labels, test_labels[rows_of(splits.test, test_images)])
    assert splits.class_names[0] == "airplane"


def test_tfds_images_are_resized_when_decoded(tfds_dir):
    splits = datasets.build(config(name="cifar10_n", path=str(tfds_dir), image_size=16))
    images, _, _ = cifar10_n_arrays("train")
    means = images.reshape(60, 16, 2, 16, 2, 3).mean(axis=(2, 4))
    nearest = [np.abs(means - image).mean(axis=(1, 2, 3)).min() for image in splits.train.images.astype(float)]
    assert max(nearest) < 0.6  # area interpolation by 2 is the mean of 2×2 pixels, rounded


def test_cached_reading_equals_reading_and_damage_is_noticed(tfds_dir, caplog):
    asked = config(name="cifar10_n", path=str(tfds_dir))
    first = datasets.build(asked)
    (entry,) = (
        path.parent
        for path in (cache.cache_root() / "datasets").glob("cifar10_n-train-*/image.npy")
        if np.array_equal(np.load(path), first.train.images)
    )
    for damage in (lambda data: data[:-1] + bytes([data[-1] ^ 1]), lambda data: data[:100]):
        intact = (entry / "image.npy").read_bytes()
        (entry / "image.npy").write_bytes(damage(intact))
        again = datasets.build(asked)
        assert np.array_equal(again.train.images, first.train.images)
        assert "damaged" in caplog.text
        assert (entry / "image.npy").read_bytes() == intact
        caplog.clear()
    datasets.build(asked)
    assert not caplog.text


def test_tfds_mistakes(tfds_dir, tmp_path):
    mistakes = {
        "prepared no 'cifar100'": {"name": "cifar100"},
        "dataset.label_key is 'aggre'": {"name": "cifar10_n", "label_key": "aggre"},
        "'worker1_id' has None classes": {"name": "cifar10_n", "label_key": "worker1_id"},
        "must be array_record": {"name": "other"},
    }
    other = tmp_path / "other" / "1.0.0"
    other.mkdir(parents=True)
    for file in (tfds_dir / "cifar10_n").glob("*/*.json"):
        text = file.read_text().replace("array_record", "tfrecord").replace("cifar10_n", "other")
        (other / file.name).write_text(text)
    for message, fields in mistakes.items():
        path = tmp_path if fields["name"] == "other" else tfds_dir
        with pytest.raises(UserError, match=message):
            datasets.build(config(path=str(path), **fields))


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json", "label.labels.txt", "cifar10_n-train"])
@pytest.mark.parametrize("share", [0, 0.5, 0.999])
def test_a_file_of_tfds_that_is_cut_off_is_named(tfds_dir, tmp_path, name, share):
    """The cache keeps what was read of whole files."""
    shutil.copytree(tfds_dir / "cifar10_n", tmp_path / "cifar10_n")
    (file,) = (file for file in tmp_path.rglob("*.*") if file.name.startswith(name))
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    named = "the split 'train'" if name == "cifar10_n-train" else name
    with pytest.raises(UserError, match=rf"^dataset\.name: .*{named}.* prepare it again") as error:
        datasets.build(config(name="cifar10_n", path=str(tmp_path), label_key="aggre_label"))
    assert "\n" not in str(error.value)


def write_npz(path, **arrays):
    rng = np.random.default_rng(0)
    arrays = {"images": rng.integers(0, 256, (30, 6, 6, 3), dtype=np.uint8), "labels": np.arange(30) % 3} | arrays
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return arrays


def test_npz_round_trip(tmp_path):
    path = tmp_path / "mine.npz"
    arrays = write_npz(
        path,
        clean_labels=np.arange(30) % 4,
        test_images=np.zeros((5, 6, 6, 3), np.uint8),
        test_labels=np.arange(5) % 4,
        class_names=np.array(["a", "b", "c", "d"]),
    )
    splits = datasets.build(config(name="arrays", path=str(path)))
    assert np.array_equal(splits.train.images, arrays["images"])
    assert np.array_equal(splits.train.labels, arrays["labels"])
    assert np.array_equal(splits.train.clean_labels, arrays["clean_labels"])
    assert np.array_equal(splits.test.labels, arrays["test_labels"])
    assert splits.class_names == ("a", "b", "c", "d")


def test_npz_with_the_least(tmp_path):
    write_npz(tmp_path / "mine.npz", images=np.zeros((30, 6, 6), np.uint8))
    splits = datasets.build(config(name="arrays", path=str(tmp_path / "mine.npz")))
    assert splits.train.images.shape == (30, 6, 6, 1)
    assert (splits.val, splits.test, splits.train.clean_labels) == (None, None, None)
    assert splits.class_names == ("0", "1", "2")


def test_npz_with_validation_data_and_more(tmp_path, monkeypatch):
    more = {"val_images": np.ones((4, 6, 6, 3), np.uint8), "val_labels": np.arange(4) % 3}
    write_npz(tmp_path / "mine.npz", **more, notes=np.array([Unpickled()], object), class_names=np.array(list("abcd")))
    monkeypatch.setenv("HOME", str(tmp_path))
    splits = datasets.build(config(name="arrays", path="~/mine.npz"))
    assert (splits.val.images == 1).all()
    assert (splits.val.rows.tolist(), splits.val.clean_labels) == ([30, 31, 32, 33], None)
    assert splits.describe() == [
        "data: training 30 images of 3 classes, validation 4 images of 3 classes, no test data",
        "without training images: 1 class, such as d",
        "left out: 1 × array of another name (such as notes)",
    ]


class Unpickled:
    """Nothing that was downloaded may be unpickled."""

    def __setstate__(self, state):
        raise AssertionError

    def __reduce__(self):
        return Unpickled, (), {}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"labels": None}, "no array labels"),
        ({"images": np.zeros((30, 6, 6, 3), np.float32)}, "must be uint8"),
        ({"images": np.zeros((30, 6, 6, 2), np.uint8)}, "must be uint8"),
        ({"labels": np.arange(29)}, "30 integers"),
        ({"labels": np.arange(30.0)}, "labels are float64.* must be 30 integers"),
        ({"images": np.zeros((30, 6, 6), np.uint16)}, r"must be uint8 .*images // 257"),
        ({"labels": np.arange(30) - 1}, r"labels lie in \[-1, 28\]"),
        ({"labels": np.arange(30) % 3 + 1}, r"labels in \[1, 3\]: they take 3 values, which must be all of 0 to 2"),
        ({"labels": np.arange(30) % 3 * 2}, r"labels in \[0, 4\]: they take 3 values"),
        ({"labels": np.full(30, 2**31)}, r"lie in \[2147483648, 2147483648\]"),
        ({"labels": np.full(30, 2**31 - 1)}, r"labels in \[2147483647, 2147483647\]: they take 1 values"),
        ({"labels": np.full(30, 2**64 - 1, np.uint64)}, r"lie in \[18446744073709551615, "),
        ({"clean_labels": np.arange(30) % 3 + 7}, r"labels in \[0, 2\], clean_labels in \[7, 9\]: they take 6 values"),
        ({"labels": np.zeros(30, int)}, "all 30 training examples are of the class '0'"),
        ({"val_images": np.zeros((5, 6, 6, 3), np.uint8)}, "no array val_labels"),
        ({"class_names": np.array(["a", "b"])}, r"lie in \[0, 2\]; .* as there are 2 classes"),
        ({"images": np.zeros((0, 6, 6, 3), np.uint8), "labels": np.zeros(0, int)}, "empty"),
        ({"clean_labels": np.zeros((30, 3), int)}, "clean_labels are"),
        ({"test_images": np.zeros((5, 8, 8, 3), np.uint8), "test_labels": np.zeros(5, int)}, "test_images are"),
        ({"images": np.array([{}] * 30, object)}, "plain arrays .array images: Object arrays"),
        ({"class_names": np.array([Unpickled()] * 3, object)}, "plain arrays"),
    ],
)
def test_npz_mistakes(tmp_path, arrays, message):
    write_npz(tmp_path / "mine.npz", **arrays)
    with pytest.raises(UserError, match=message):
        datasets.build(config(name="arrays", path=str(tmp_path / "mine.npz")))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_that_is_cut_off(tmp_path, save, share):
    save(tmp_path / "mine.npz", images=np.zeros((30, 6, 6), np.uint8), labels=np.arange(30) % 3)
    data = (tmp_path / "mine.npz").read_bytes()
    (tmp_path / "mine.npz").write_bytes(data[: int(share * len(data))])
    with pytest.raises(UserError, match=r"mine\.npz is damaged, or not an \.npz file") as error:
        datasets.build(config(name="arrays", path=str(tmp_path / "mine.npz")))
    assert "\n" not in str(error.value)


def test_a_bit_that_is_flipped_in_an_npz_is_noticed(tmp_path):
    np.savez(tmp_path / "mine.npz", images=np.zeros((30, 6, 6), np.uint8), labels=np.arange(30) % 3)
    data = bytearray((tmp_path / "mine.npz").read_bytes())
    data[500] ^= 1
    (tmp_path / "mine.npz").write_bytes(data)
    with pytest.raises(UserError, match=r"damaged.*Bad CRC-32"):
        datasets.build(config(name="arrays", path=str(tmp_path / "mine.npz")))


def test_an_npz_that_unpacks_to_more_than_the_memory_is_refused_before(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "mine.npz", images=np.zeros((30_000, 6, 6), np.uint8), labels=np.arange(30) % 3)
    assert (tmp_path / "mine.npz").stat().st_size < 10_000
    monkeypatch.setattr(datasets.arrays, "find_free_memory", lambda: 1_000_000)
    with pytest.raises(UserError, match=r"take 0\.0 GB of memory, and 0\.0 GB are free"):
        datasets.build(config(name="arrays", path=str(tmp_path / "mine.npz")))


def test_a_file_that_is_no_npz(tmp_path):
    np.save(tmp_path / "mine.npy", IMAGES)
    with pytest.raises(UserError, match=r"not an \.npz file"):
        datasets.build(config(name="arrays", path=str(tmp_path / "mine.npy")))
    (tmp_path / "mine.npz").write_text("no")
    with pytest.raises(UserError, match=r"not an \.npz file"):
        datasets.build(config(name="arrays", path=str(tmp_path / "mine.npz")))
    with pytest.raises(UserError, match="there is no file"):
        datasets.build(config(name="arrays", path=str(tmp_path / "other.npz")))


IMAGES, LABELS = np.zeros((4, 2, 2, 3), np.uint8), np.array([0, 1, 2, 1])


def build_from(monkeypatch, load, **fields):
    """The splits of a function `load` of a module from outside."""
    module = types.ModuleType("outside")
    module.load = load
    monkeypatch.setitem(sys.modules, "outside", module)
    return datasets.build(config(name="outside:load", **fields))


def test_a_function_from_outside(monkeypatch):
    asked = []

    def load(config):
        asked.append(config.path)
        test = Examples.of(IMAGES[:2], LABELS[:2].tolist())
        return Source(Examples.of(IMAGES, LABELS, LABELS[::-1]), test, ("a", "b", "c"))

    splits = build_from(monkeypatch, load, path="mine", classes=("b", "a"))
    assert asked == ["mine"]
    assert splits.train.labels.tolist() == [1, 0, 0]
    assert splits.train.clean_labels.tolist() == [0, -1, 1]
    assert (splits.test.labels.tolist(), splits.class_names) == ([1, 0], ("b", "a"))
    noisy = build_from(monkeypatch, load, label_noise={"kind": "uniform", "rate": 1.0}).train
    assert noisy.clean_labels.tolist() == LABELS[::-1].tolist()


@pytest.mark.parametrize(
    ("load", "message"),
    [
        (lambda config: IMAGES, "returned something of type ndarray; it must return a datasets.Source"),
        (lambda config: Source(IMAGES, None, ("a",)), "returned a split of type ndarray; .* Examples.of"),
        (lambda config: Source(Examples.of(IMAGES, LABELS), LABELS, ("a",) * 3), "returned a split of type ndarray"),
        (lambda config: Source(Examples.of(IMAGES / 255, LABELS), None, ()), r"images are float64 \(4, 2, 2, 3\)"),
        (lambda config: Source(Examples.of(IMAGES[0, 0], LABELS), None, ()), r"images are uint8 \(2, 3\)"),
        (lambda config: Source(Examples.of(IMAGES, [0, 1, 2]), None, ()), r"labels are int64 \(3,\); .* 4 integers"),
        (lambda config: Source(Examples.of(IMAGES, LABELS, ["a"] * 4), None, ()), r"clean_labels are <U1 \(4,\)"),
        (lambda config: Source(Examples.of(IMAGES, LABELS), None, tuple("abc"), IMAGES), "returned a split of type nd"),
        (lambda config: Source(Examples.of(IMAGES, LABELS), None, ("a", "b")), r"labels lie in \[0, 2\]; .* \[0, 2\)"),
        (lambda config: Source(Examples.of(IMAGES, LABELS), None, "aab"), "class_names are .* different"),
        (lambda config: Source(Examples.of(IMAGES, LABELS), None, range(3)), r"class_names are \(0, 1, 2\); .* texts"),
        (lambda config: Source(Examples.of(IMAGES[:0], []), None, ()), r"labels are float64 \(0,\)"),
        (lambda config: Source(Examples.of(IMAGES[:0], LABELS[:0]), None, ()), "labels are empty"),
        (lambda config: 1 / 0, r" fails: ZeroDivisionError: .*test_arrays\.py, line \d+\)"),
    ],
)
def test_mistakes_of_a_function_from_outside(monkeypatch, load, message):
    with pytest.raises(UserError, match=f"^dataset.name: outside:load.*{message}") as error:
        build_from(monkeypatch, load)
    assert "\n" not in str(error.value)


def test_a_function_from_outside_has_its_images_in_memory(monkeypatch):
    with pytest.raises(UserError, match=r"dataset\.feed is 'stream'; outside:load"):
        build_from(monkeypatch, None, feed="stream", image_size=8)


@pytest.mark.data
@pytest.mark.parametrize(
    ("label_key", "wrong"),
    [("aggre_label", 9.01), ("random_label1", 17.23), ("random_label2", 18.12), ("random_label3", 17.64)],
)
def test_cifar10_n_has_its_published_noise(label_key, wrong):
    """Wei et al., ICLR 2022."""
    train = datasets.build(config(name="cifar10_n", label_key=label_key)).train
    assert 100 * np.mean(train.labels != train.clean_labels) == pytest.approx(wrong, abs=0.02)


def test_labels_in_another_order_are_noticed():
    """What the CIFAR-N repository's two files are to each other; binary labels with much noise are not refused."""
    rng = np.random.default_rng(0)
    for num_classes, noise in ((10, 0.4), (2, 0.4), (100, 0.4)):
        clean = rng.integers(0, num_classes, 5000)
        noisy = np.where(rng.random(5000) < noise, (clean + rng.integers(1, num_classes, 5000)) % num_classes, clean)
        assert not tfds._agrees_by_chance(noisy, clean, num_classes)
        assert tfds._agrees_by_chance(rng.permutation(noisy), clean, num_classes)
