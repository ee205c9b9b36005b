"""The scripts of scripts/prepare on tiny archives in the layout of the real ones."""

import dataclasses
import gzip
import hashlib
import io
import json
import subprocess
import sys
import tarfile

import numpy as np
import pytest

from repository import ROOT

from datasets import archives
from datasets.arrays import load_npz
from errors import UserError
from evaluation.corrupted_sets import CifarFiles, ImageNetFiles, open_files
from evaluation.corruptions import CORRUPTIONS, GROUPS
from scripts.prepare import (
    cifar10_c,
    fashion_mnist,
    imagenet,
    imagenet_c,
    imagenet_real,
    imagenet_v2,
    inaturalist2018,
    places365,
)

WNIDS = ["n01", "n02", "n03"]


def tar_bytes(files, compress=False):
    """A tar archive of these names and contents; a TarInfo instead of a name is taken as it is."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz" if compress else "w") as tar:
        for name, content in files.items():
            member = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def published(declared, source):
    """The same archives with the hashes of the files that are there."""
    return {
        name: dataclasses.replace(archive, digest=hashlib.sha256((source / archive.name).read_bytes()).hexdigest())
        if (source / archive.name).exists()
        else archive
        for name, archive in declared.items()
    }


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "downloads"
    folder.mkdir()
    return folder


@pytest.fixture
def ilsvrc(source):
    """Three classes that the kit numbers 2, 3, 1, a fourth synset that is no class, and five validation images."""
    import scipy.io

    kinds = [("ILSVRC2012_ID", "i4"), ("WNID", "O"), ("num_children", "i4")]
    synsets = np.array([(1, "n03", 0), (2, "n01", 0), (3, "n02", 0), (4, "n99", 2)], kinds)
    meta = io.BytesIO()
    scipy.io.savemat(meta, {"synsets": synsets})
    data = "ILSVRC2012_devkit_t12/data"
    truth = b"2\n1\n3\n2\n1\n"
    kit = {f"{data}/meta.mat": meta.getvalue(), f"{data}/ILSVRC2012_validation_ground_truth.txt": truth}
    (source / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(tar_bytes(kit, compress=True))
    train = {f"{w}.tar": tar_bytes({f"{w}_{i}.JPEG": f"{w} {i}".encode() for i in range(3)}) for w in WNIDS}
    (source / "ILSVRC2012_img_train.tar").write_bytes(tar_bytes(train))
    val = {f"ILSVRC2012_val_{i:08}.JPEG": f"val {i}".encode() for i in (3, 1, 2, 5, 4)}
    (source / "ILSVRC2012_img_val.tar").write_bytes(tar_bytes(val))
    return source


COUNTS = {"train": (3, 9), "val": (3, 5)}


def prepare_imagenet(source, out, **options):
    imagenet.prepare(source, out, published(imagenet.ARCHIVES, source), **{"counts": COUNTS} | options)


def test_imagenet_goes_into_folders_of_classes(ilsvrc, tmp_path):
    prepare_imagenet(ilsvrc, tmp_path / "data")
    expected = {f"train/{w}/{w}_{i}.JPEG": f"{w} {i}".encode() for w in WNIDS for i in range(3)}
    classes = {1: "n01", 2: "n03", 3: "n02", 4: "n01", 5: "n03"}
    expected |= {f"val/{w}/ILSVRC2012_val_{i:08}.JPEG": f"val {i}".encode() for i, w in classes.items()}
    assert tree(tmp_path / "data" / "imagenet") == expected


def test_a_second_run_needs_no_archive_and_changes_nothing(ilsvrc, tmp_path):
    out = tmp_path / "data"
    prepare_imagenet(ilsvrc, out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    for archive in ilsvrc.iterdir():
        archive.unlink()
    prepare_imagenet(ilsvrc, out)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_a_run_that_was_cut_off_goes_on(ilsvrc, tmp_path, monkeypatch):
    whole, out = tmp_path / "whole", tmp_path / "data"
    prepare_imagenet(ilsvrc, whole)
    written = []

    def stop_in_a_file(content, file, _):
        written.append(file.name)
        if len(written) == 9:
            file.write(content.read()[:2])
            raise KeyboardInterrupt
        file.write(content.read())

    with monkeypatch.context() as patch:
        patch.setattr(archives.shutil, "copyfileobj", stop_in_a_file)
        with pytest.raises(KeyboardInterrupt):
            prepare_imagenet(ilsvrc, out)
    assert [str(path) for path in out.rglob("*.partial")] == written[-1:]
    prepare_imagenet(ilsvrc, out)
    assert tree(out) == tree(whole)


def test_a_wrong_hash_leaves_nothing_behind(ilsvrc, tmp_path):
    with_hashes = published(imagenet.ARCHIVES, ilsvrc)
    with (ilsvrc / "ILSVRC2012_img_val.tar").open("r+b") as file:
        file.seek(600)
        file.write(b"!")
    with pytest.raises(
        UserError, match=r"img_val.tar has the SHA256 \w{64}, but \w{64} is published; download it again"
    ):
        imagenet.prepare(ilsvrc, tmp_path / "data", with_hashes, COUNTS)
    assert not (tmp_path / "data").exists()


def test_hashes_of_the_published_length_are_md5(source):
    (source / "file").write_bytes(b"abc")
    md5 = archives.Archive("file", "its page", "900150983cd24fb0d6963f7d28e17f72")  # RFC 1321
    assert archives.verify(source, md5) == source / "file"
    for module in (imagenet, imagenet_v2, imagenet_c, inaturalist2018, places365):
        assert {len(archive.digest) for archive in module.ARCHIVES.values()} <= {32, 64}


@pytest.mark.parametrize("keep", [0.3, 0.9])
@pytest.mark.parametrize("compress", [False, True])
def test_archives_that_were_cut_off_are_named(source, tmp_path, keep, compress):
    rng = np.random.default_rng(0)
    files = {f"{i}.JPEG": rng.bytes(5000) for i in range(5)}
    data, path = tar_bytes(files, compress), source / "images.tar"
    path.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(UserError, match=rf"{path} is cut off or damaged \(.*\); download it again"):
        archives.unpack(path, lambda name: tmp_path / "data" / name)
    for file in (tmp_path / "data").glob("*.JPEG"):
        assert file.read_bytes() == files[file.name]


def test_what_is_no_archive_is_named(source, tmp_path):
    for data in (b"<html>not found</html>", b"", gzip.compress(b"nothing")):
        (source / "images.tar").write_bytes(data)
        with pytest.raises(UserError, match=r"images.tar is cut off or damaged"):
            archives.unpack(source / "images.tar", lambda name: tmp_path / name)


def link(name, target, kind):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    "name",
    [
        "../escaped",
        "class/../../escaped",
        "/tmp/escaped",
        link("class/link", "/etc/passwd", tarfile.SYMTYPE),
        link("class/link", "image", tarfile.SYMTYPE),
        link("class/link", "class/image", tarfile.LNKTYPE),
        link("class/pipe", "", tarfile.FIFOTYPE),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_archives_that_reach_out_are_refused(source, tmp_path, name, nested):
    data = tar_bytes({"class/image": b"1", name: b""})
    (source / "bad.tar").write_bytes(tar_bytes({"inner.tar": data}) if nested else data)
    with pytest.raises(UserError, match=r"bad.tar is not safe to unpack: .* (leads out of it|is a link or a device)"):
        archives.unpack(source / "bad.tar", lambda name: tmp_path / "data" / name, nested)
    assert tree(tmp_path / "data") == {"class/image": b"1"}
    assert not (tmp_path / "escaped").exists()


def test_wrong_counts_are_told(ilsvrc, tmp_path):
    with pytest.raises(UserError, match=r"train holds 9 images of 3 classes; there must be 10 of 3"):
        prepare_imagenet(ilsvrc, tmp_path / "data", counts={"train": (3, 10), "val": (3, 5)})
    with pytest.raises(UserError, match=r"has 3 classes and 5 labels; there must be 3 and 6"):
        prepare_imagenet(ilsvrc, tmp_path / "other", counts={"train": (3, 9), "val": (3, 6)})


def test_all_missing_files_are_missed_before_any_is_read(ilsvrc, tmp_path):
    (ilsvrc / "ILSVRC2012_img_train.tar").unlink()
    with pytest.raises(UserError, match=r"there is no .*img_train.tar; download it from https://image-net.org"):
        imagenet.prepare(ilsvrc, tmp_path / "data")


@pytest.mark.parametrize(
    "script", [imagenet, imagenet_v2, imagenet_real, imagenet_c, inaturalist2018, places365, cifar10_c]
)
def test_scripts_say_in_one_line_what_is_missing(source, tmp_path, monkeypatch, capsys, script):
    name = f"{script.__name__.split('.')[-1]}.py"
    monkeypatch.setattr(sys, "argv", [name, f"--source={source}", f"--out={tmp_path / 'data'}"])
    with pytest.raises(SystemExit, match="2"):
        archives.run_command(script.__doc__, script.prepare)
    error = capsys.readouterr().err
    assert error.startswith(f"{name}: there is no")
    assert error.count("\n") == 1
    assert "http" in error
    assert not (tmp_path / "data").exists()


def test_a_script_starts_by_itself(source, tmp_path):
    (source / "real.json").write_text("[]")
    command = [sys.executable, "scripts/prepare/imagenet_real.py", f"--source={source}", f"--out={tmp_path / 'data'}"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.startswith(
        f"imagenet_real.py: {source}/real.json has the SHA256 {hashlib.sha256(b'[]').hexdigest()}"
    )


def test_imagenet_classes_are_in_the_order_of_their_names():
    classes = archives.read_imagenet_classes()
    assert len(classes) == 1000
    assert classes == sorted(classes)
    assert (classes[0], classes[-1]) == ("n01440764", "n15075141")


def test_imagenet_v2_gets_the_names_of_its_classes(source, tmp_path):
    """Numbers sort otherwise than as text: 10 comes before 2."""
    classes = [f"n{number:08}" for number in range(12)]
    files = {f"format-val/{i}/{j}.jpeg": f"{i} {j}".encode() for i in range(12) for j in range(10)}
    (source / "imagenetv2-threshold0.7.tar.gz").write_bytes(tar_bytes(files, compress=True))
    with_hashes = published(imagenet_v2.ARCHIVES, source)
    for _ in range(2):
        imagenet_v2.prepare(source, tmp_path / "data", with_hashes, classes)
    expected = {f"{classes[i]}/{j}.jpeg": f"{i} {j}".encode() for i in range(12) for j in range(10)}
    assert tree(tmp_path / "data") == {f"imagenet_v2_threshold0.7/{name}": data for name, data in expected.items()}
    with pytest.raises(UserError, match=r"format-val/11/0\.jpeg lies in no folder of a class from 0 to 10"):
        imagenet_v2.prepare(source, tmp_path / "other", with_hashes, classes[:11])


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ([[0], [], [2, 1]], None),
        ([[0], []], "must hold 3 lists of classes"),
        ([[0], [], [3]], r"image 3 has \[3\]; it must be a list of classes from 0 to 2"),
        ([[0], 1, [2]], r"image 2 has 1; it must be"),
    ],
)
def test_imagenet_real_is_checked(source, tmp_path, lists, message):
    (source / "real.json").write_text(json.dumps(lists))
    (real,) = published({"real": imagenet_real.REAL}, source).values()
    if message:
        with pytest.raises(UserError, match=message):
            imagenet_real.prepare(source, tmp_path, real, 3, 3)
    else:
        imagenet_real.prepare(source, tmp_path, real, 3, 3)
        assert json.loads((tmp_path / "imagenet_real" / "real.json").read_text()) == lists


def test_imagenet_c_is_what_evaluation_reads(source, tmp_path, monkeypatch):
    import cv2

    image = cv2.imencode(".jpg", np.zeros((224, 224, 3), np.uint8))[1].tobytes()
    for group, names in GROUPS.items():
        files = {f"{name}/{s}/{w}/{w}.JPEG": image for name in names for s in range(1, 6) for w in WNIDS}
        (source / f"{group}.tar").write_bytes(tar_bytes(files))
    imagenet_c.prepare(source, tmp_path, published(imagenet_c.ARCHIVES, source), (3, 3))
    test_set = open_files(tmp_path / "imagenet_c", tuple(WNIDS), some_classes=False)
    assert isinstance(test_set, ImageNetFiles)
    assert test_set.read("fog", 5, np.arange(3)).labels.tolist() == [0, 1, 2]
    (source / "blur.tar").write_bytes(tar_bytes({"snow/1/n01/n01.JPEG": image}))
    with pytest.raises(UserError, match=r"snow/1/n01/n01.JPEG is no image of defocus_blur"):
        imagenet_c.prepare(source, tmp_path / "other", published(imagenet_c.ARCHIVES, source), (3, 3))


def test_inaturalist_goes_by_the_numbers_of_its_categories(source, tmp_path):
    places = {"train": {"a.jpg": 1, "b.jpg": 0, "c.jpg": 1}, "val": {"d.jpg": 0, "e.jpg": 1}}
    for split, categories in places.items():
        names = {7 + i: name for i, name in enumerate(categories)}
        content = {
            "images": [{"id": i, "file_name": f"train_val2018/Aves/{categories[n]}/{n}"} for i, n in names.items()],
            "annotations": [{"image_id": i, "category_id": categories[n]} for i, n in reversed(names.items())],
        }
        archive = tar_bytes({f"{split}2018.json": json.dumps(content).encode()}, compress=True)
        (source / f"{split}2018.json.tar.gz").write_bytes(archive)
    files = {f"train_val2018/Aves/{c}/{n}": n.encode() for split in places.values() for n, c in split.items()}
    (source / "train_val2018.tar.gz").write_bytes(tar_bytes(files, compress=True))
    counts = {"train": (2, 3), "val": (2, 2)}
    inaturalist2018.prepare(source, tmp_path, published(inaturalist2018.ARCHIVES, source), counts)
    assert tree(tmp_path / "inaturalist2018") == {
        f"{split}/{category:04}/{name}": name.encode()
        for split, categories in places.items()
        for name, category in categories.items()
    }
    wrong = {"train": (2, 4), "val": (2, 2)}
    with pytest.raises(UserError, match="must hold 4 images of categories 0 to 1"):
        inaturalist2018.prepare(source, tmp_path, published(inaturalist2018.ARCHIVES, source), wrong)


def test_places365_keeps_the_order_of_its_classes(source, tmp_path):
    lists = {
        "categories_places365.txt": b"/a/airfield 0\n/b/barn/outdoor 1\n/b/barn 2\n",
        "places365_train_standard.txt": b"/a/airfield/1.jpg 0\n/b/barn/outdoor/1.jpg 1\n/b/barn/1.jpg 2\n",
        "places365_val.txt": b"Places365_val_1.jpg 2\nPlaces365_val_2.jpg 0\nPlaces365_val_3.jpg 1\n",
    }
    (source / "filelist_places365-standard.tar").write_bytes(tar_bytes(lists))
    train = {f"data_256/{name}/1.jpg": name.encode() for name in ("a/airfield", "b/barn/outdoor", "b/barn")}
    (source / "train_256_places365standard.tar").write_bytes(tar_bytes(train))
    val = {f"val_256/Places365_val_{i}.jpg": b"%d" % i for i in (1, 2, 3)}
    (source / "val_256.tar").write_bytes(tar_bytes(val))
    counts = {"train": (3, 3), "val": (3, 3)}
    places365.prepare(source, tmp_path, published(places365.ARCHIVES, source), counts)
    assert tree(tmp_path / "places365") == {
        "train/000-airfield/1.jpg": b"a/airfield",
        "train/001-barn-outdoor/1.jpg": b"b/barn/outdoor",
        "train/002-barn/1.jpg": b"b/barn",
        "val/002-barn/Places365_val_1.jpg": b"1",
        "val/000-airfield/Places365_val_2.jpg": b"2",
        "val/001-barn-outdoor/Places365_val_3.jpg": b"3",
    }


def test_cifar10_c_arrays_are_checked(source, tmp_path):
    def array(content):
        buffer = io.BytesIO()
        np.save(buffer, content)
        return buffer.getvalue()

    files = {f"CIFAR-10-C/{name}.npy": array(np.zeros((10, 32, 32, 3), np.uint8)) for name in CORRUPTIONS}
    files |= {"CIFAR-10-C/labels.npy": array(np.tile([3, 5], 5)), "CIFAR-10-C/README.txt": b"read me"}
    (source / "CIFAR-10-C.tar").write_bytes(tar_bytes(files))
    (archive,) = published({"": cifar10_c.CIFAR10_C}, source).values()
    cifar10_c.prepare(source, tmp_path, archive, 2)
    assert {path.name for path in (tmp_path / "cifar10_c").iterdir()} == {f"{n}.npy" for n in ("labels", *CORRUPTIONS)}
    assert CifarFiles(tmp_path / "cifar10_c").labels.tolist() == [3, 5]
    np.save(tmp_path / "cifar10_c" / "fog.npy", np.zeros((9, 32, 32, 3), np.uint8))
    with pytest.raises(UserError, match=r"fog.npy holds uint8 \(9, 32, 32, 3\)"):
        cifar10_c.prepare(source, tmp_path, archive, 2)


def idx(array):
    """As Fashion-MNIST is published: gzipped bytes behind the lengths of the axes."""
    return gzip.compress(bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes())


def test_fashion_mnist_becomes_arrays_that_can_be_trained_on(source, tmp_path):
    rng = np.random.default_rng(0)
    arrays = {f"{split}images": rng.integers(0, 256, (5, 28, 28), np.uint8) for split in ("", "test_")}
    arrays |= {f"{split}labels": np.arange(5, dtype=np.uint8) for split in ("", "test_")}
    published = {}
    for name, archive in fashion_mnist.ARCHIVES.items():
        (source / archive.name).write_bytes(idx(arrays[name]))
        digest = hashlib.sha256(gzip.decompress(idx(arrays[name]))).hexdigest()
        published[name] = dataclasses.replace(archive, digest=digest)
    fashion_mnist.prepare(source, tmp_path / "data", published)
    data = load_npz(str(tmp_path / "data" / "fashion_mnist.npz"))
    np.testing.assert_array_equal(data.train.images[..., 0], arrays["images"])
    np.testing.assert_array_equal(data.test.labels, arrays["test_labels"])
    assert data.class_names[9] == "ankle_boot"
    file = source / fashion_mnist.ARCHIVES["images"].name
    with pytest.raises(UserError, match=f"{file} holds data of the SHA256"):
        fashion_mnist.prepare(source, tmp_path / "other")
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(UserError, match=f"{file} is not a whole gzip file"):
        fashion_mnist.prepare(source, tmp_path / "other", published)
