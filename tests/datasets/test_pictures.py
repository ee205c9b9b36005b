"""Which files of a folder are pictures, and that all others are counted and never opened where that could hang."""

import io
import os
import socket

import pytest
from PIL import Image

from datasets.pictures import MAX_BYTES, LeftOut, find_pictures, read_file, suffixes

PICTURE = Image.linear_gradient("L").resize((8, 8))


def encoded(kind):
    file = io.BytesIO()
    PICTURE.convert("RGB").save(file, kind)
    return file.getvalue()


def test_every_format_by_its_name_or_else_by_its_content(tmp_path):
    """A name that ends like a picture is not opened: it may hold anything."""
    for suffix in ("jpg", "JPEG", "jfif", "png", "ppm", "pgm", "webp", "avif", "tif", "bmp", "gif", "jp2", "qoi"):
        assert f".{suffix.lower()}" in suffixes()
        (tmp_path / f"x.{suffix}").touch()
    for kind in ("JPEG", "PNG", "PPM", "WEBP", "AVIF", "TIFF", "BMP", "GIF"):
        (tmp_path / kind).write_bytes(encoded(kind))
        (tmp_path / f"{kind}.image").write_bytes(encoded(kind))
    left_out = LeftOut()
    assert find_pictures(tmp_path, left_out) == sorted(os.listdir(tmp_path))
    assert not left_out


def test_what_is_no_picture_is_counted_by_kind(tmp_path, monkeypatch):
    (tmp_path / "below" / "deeper").mkdir(parents=True)
    for name in ("x.jpg", "below/deeper/y.png"):
        (tmp_path / name).touch()
    for name in ("notes.txt", "below/more.txt", "Thumbs.db", "README", "figure.eps", ".DS_Store"):
        (tmp_path / name).write_text("%!PS-Adobe-3.0 EPSF-3.0\n" if name == "figure.eps" else "P6 is a road")
    (tmp_path / "broken.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "circle.jpg").symlink_to("circle.jpg")
    (tmp_path / "below" / "up").symlink_to(tmp_path)
    (tmp_path / "linked.jpg").symlink_to("x.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)  # the path of a socket must be short
        server.bind("socket.jpg")
    left_out = LeftOut()
    assert find_pictures(tmp_path, left_out) == ["below/deeper/y.png", "linked.jpg", "x.jpg"]
    counts = {part.split(" (")[0] for part in str(left_out).split("), ")}
    expected = {"2 × .txt", "1 × .db", "1 × .eps", "1 × without an ending", "1 × hidden", "2 × broken link"}
    assert counts == expected | {"1 × link to a folder above it", "3 × pipe, socket or device"}
    assert "(such as below/up)" in str(left_out)


def test_a_file_larger_than_any_picture_is_not_read(tmp_path):
    with (tmp_path / "x.jpg").open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # takes no space on the disk
    with pytest.raises(OSError, match="715,827,881 bytes; at most 715,827,880 are read"):
        read_file(tmp_path / "x.jpg")


@pytest.mark.parametrize(("name", "shown"), [(b"a\nb.txt", r"a\nb.txt"), (b"\xff.txt", r"\udcff.txt")])
def test_a_name_of_any_bytes_stays_in_its_line(tmp_path, name, shown):
    (tmp_path / os.fsdecode(name)).write_text("no")
    left_out = LeftOut()
    assert find_pictures(tmp_path, left_out) == []
    assert str(left_out) == f"1 × .txt (such as {shown})"
    str(left_out).encode()
