"""Decoding held to Pillow over every odd kind of file, and damage of every sort."""

import concurrent.futures
import io
import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from photographs import encoded, read_samples
from PIL import Image, ImageCms

from datasets.feeds import decoding
from datasets.feeds.decoding import (
    DamagedImage,
    crop_for_evaluation,
    crop_for_training,
    decode,
    stretch_for_evaluation,
)
from datasets.feeds.jpeg import cut_below, read_header

PHOTOGRAPH = read_samples()[0]  # 640 x 427
SMALL = PHOTOGRAPH.resize((150, 101))
RNG = np.random.default_rng(0)


def with_alpha(image, mode):
    image = image.convert(mode)
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def orientation_6():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def adobe_ycck():
    """A CMYK JPEG whose Adobe marker says YCCK, as Photoshop writes them."""
    data = encoded(SMALL.convert("CMYK"))
    at = data.index(b"Adobe")
    return data[: at + 11] + b"\x02" + data[at + 12 :]


def thumbnailed():
    """A JPEG that holds another whole one, its thumbnail, before its own data."""
    inner = encoded(SMALL.resize((40, 30)))
    data = encoded(SMALL)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(inner) + 2) + inner + data[2:]


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

KINDS = {
    "jpeg": encoded(SMALL),
    "grey jpeg": encoded(SMALL.convert("L")),
    "progressive jpeg": encoded(SMALL, progressive=True),
    "progressive grey jpeg": encoded(SMALL.convert("L"), progressive=True),
    "jpeg of full chroma": encoded(SMALL, subsampling="4:4:4"),
    "jpeg with halved columns of chroma": encoded(SMALL, subsampling="4:2:2"),
    "jpeg that stores RGB": encoded(SMALL, keep_rgb=True),
    "jpeg with restarts": encoded(SMALL, restart_marker_rows=1),
    "cmyk jpeg": encoded(SMALL.convert("CMYK")),
    "ycck jpeg": adobe_ycck(),
    "rotated jpeg": encoded(SMALL, exif=orientation_6()),
    "jpeg with a profile": encoded(SMALL, icc_profile=PROFILE),
    "jpeg with a thumbnail": thumbnailed(),
    "jpeg with bytes after its end": encoded(SMALL) + b"\x00more" * 9,
    "png": encoded(SMALL, "PNG"),
    "rotated png": encoded(SMALL, "PNG", exif=orientation_6()),
    "grey png": encoded(SMALL.convert("L"), "PNG"),
    "grey png with alpha": encoded(with_alpha(SMALL, "L"), "PNG"),
    "png with alpha": encoded(with_alpha(SMALL, "RGB"), "PNG"),
    "palette png": encoded(SMALL.quantize(64), "PNG"),
    "palette png with one clear colour": encoded(SMALL.quantize(64), "PNG", transparency=3),
    "palette png with alpha": encoded(SMALL.quantize(64), "PNG", transparency=bytes(range(64))),
    "png of one bit": encoded(SMALL.convert("1"), "PNG"),
    "webp": encoded(SMALL, "WEBP"),
    "webp with alpha": encoded(with_alpha(SMALL, "RGB"), "WEBP", lossless=True),
    "bmp": encoded(SMALL, "BMP"),
    "gif": encoded(SMALL, "GIF"),
    "tiff": encoded(SMALL, "TIFF"),
    "one pixel": encoded(SMALL.resize((1, 1))),
    "one row": encoded(SMALL.resize((70, 1))),
    "one column": encoded(SMALL.resize((1, 70))),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:Palette images with Transparency")  # Pillow's, from the reference
def test_pixels_are_pillows(kind, capfd):
    reference = np.asarray(Image.open(io.BytesIO(KINDS[kind])).convert("RGB"))
    image = decode(KINDS[kind])
    assert image.dtype == np.uint8
    assert np.array_equal(image, reference)
    assert crop_for_training(KINDS[kind], 32, 0.05, np.random.default_rng(0)).shape == (32, 32, 3)
    assert crop_for_evaluation(KINDS[kind], 36, 32).shape == (32, 32, 3)
    assert capfd.readouterr() == ("", "")


def encoded_grey(values, file_format):
    """Pillow's file of a grey picture of this dtype."""
    return encoded(Image.fromarray(values), file_format)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "PPM"])
def test_grey_of_16_bits_is_scaled_to_8(file_format):
    """Each level of 8 bits comes back from its multiple of 257, and what lies between goes to the nearer one."""
    levels = np.arange(256, dtype=np.uint16).repeat(2).reshape(16, 32)
    offsets = np.tile(np.array([-128, 128]), 256).reshape(16, 32)
    values = np.clip(257 * levels.astype(int) + offsets, 0, 65535).astype(np.uint16)
    image = decode(encoded_grey(values, file_format))
    assert np.array_equal(image, np.broadcast_to(levels[..., None], (16, 32, 3)))
    for crop in (
        crop_for_training(encoded_grey(np.full((9, 9), 12_000, np.uint16), file_format), 4, 0.05, RNG),
        crop_for_evaluation(encoded_grey(np.full((9, 9), 12_000, np.uint16), file_format), 4, 4),
    ):
        assert (crop == round(12_000 / 257)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_grey_of_32_bits_has_no_range_and_is_refused(dtype):
    with pytest.raises(DamagedImage, match="32 bits"):
        decode(encoded_grey(np.ones((4, 4), dtype), "TIFF"))


def enlarged(data):
    """The file, with a header that claims 50,000 × 50,000 pixels."""
    if data.startswith(b"\xff\xd8"):
        at = read_header(data).height_at
        return data[:at] + struct.pack(">HH", 50_000, 50_000) + data[at + 4 :]
    header = b"IHDR" + struct.pack(">II", 50_000, 50_000) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


@pytest.mark.parametrize("data", [encoded(SMALL), encoded(SMALL, "PNG")], ids=["jpeg", "png"])
def test_a_bomb_is_refused_by_its_header(data):
    for read in (
        decode,
        lambda data: decode(data, 8),
        lambda data: crop_for_training(data, 8, 0.05, RNG),
        lambda data: crop_for_evaluation(data, 8, 8),
        lambda data: stretch_for_evaluation(data, (8, 8, 3)),
    ):
        tracemalloc.start()
        with pytest.raises(DamagedImage, match="more than 89,478,485 pixels"):
            read(enlarged(data))
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
        tracemalloc.stop()


def test_a_bomb_within_an_icon_is_refused():
    """The icon's own header says 64 × 64."""
    icon = encoded(SMALL.resize((64, 64)), "ICO", sizes=[(64, 64)])
    start = icon.index(b"\x89PNG")
    with pytest.raises(DamagedImage, match="more than 89,478,485 pixels"):
        decode(icon[:start] + enlarged(icon[start:]))


def test_opencv_reads_ordinary_jpegs(monkeypatch):
    monkeypatch.delattr(decoding, "_decode_with_pillow")
    kinds = "jpeg", "grey jpeg", "progressive jpeg", "jpeg with restarts", "rotated jpeg", "jpeg with a thumbnail"
    for kind in kinds:
        decode(KINDS[kind])
        crop_for_training(KINDS[kind], 32, 0.05, np.random.default_rng(0))


def broken(kind):
    data = KINDS[kind]
    yield "nothing", b""
    for share in (0.02, 0.1, 0.5, 0.95):
        yield f"{share:.0%}", data[: int(len(data) * share)]
    yield "no last byte", data[:-1]


@pytest.mark.parametrize(
    "kind", ["jpeg", "grey jpeg", "progressive jpeg", "cmyk jpeg", "jpeg with a thumbnail", "png", "webp", "bmp"]
)
def test_cut_files_are_damaged(kind):
    for what, data in broken(kind):
        if kind in ("png", "bmp") and what == "no last byte":  # all pixels are there: Pillow takes it
            continue
        for read in (decode, lambda data: crop_for_training(data, 32, 0.05, np.random.default_rng(0))):
            with pytest.raises(DamagedImage, match=r"^[^\n]{5,120}$"):
                read(data)


@pytest.mark.parametrize(
    "data",
    [b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xd9", b"<html>404</html>", bytes(5000), b"\x89PNG\r\n\x1a\n"],
)
def test_what_is_no_image_is_damaged(data):
    with pytest.raises(DamagedImage):
        decode(data)


@given(
    seed=st.integers(0, 2**32),
    kind=st.sampled_from(["jpeg", "progressive jpeg", "png", "gif", "cmyk jpeg"]),
    flips=st.integers(1, 20),
)
@settings(max_examples=100, deadline=None)
def test_flipped_bytes_give_pixels_or_damage_twice_the_same(seed, kind, flips):
    rng = np.random.default_rng(seed)
    data = np.frombuffer(KINDS[kind], np.uint8).copy()
    data[rng.integers(0, len(data), flips)] = rng.integers(0, 256, flips)

    def outcome():
        try:
            return crop_for_training(data.tobytes(), 24, 0.3, np.random.default_rng(seed)).tobytes()
        except DamagedImage as error:
            return str(error)

    assert outcome() == outcome()


@given(data=st.binary(max_size=300), start=st.sampled_from([b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xc0\x00\x11\x08"]))
@settings(max_examples=60, deadline=None)
def test_random_bytes_are_damaged(data, start):
    with pytest.raises(DamagedImage):
        decode(start + data)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_a_file_cut_below_a_row_holds_the_same_pixels(mode, subsampling, monkeypatch, capfd):
    monkeypatch.delattr(decoding, "_decode_with_pillow")
    data = encoded(SMALL.convert(mode), subsampling=subsampling)
    header, full = read_header(data), decode(data)
    assert (header.height, header.width) == full.shape[:2]
    for reduction in (1, 2, 4, 8):
        full = decoding._decode_with_opencv(data, reduction)
        for rows in range(1, 102):
            part = decoding._decode_with_opencv(data, reduction, cut_below(data, header, rows))
            whole = -(-rows // reduction)
            assert len(part) <= -(-(rows + 8) // reduction) or rows > 92
            assert np.array_equal(part[:whole], full[:whole]), (reduction, rows)
    assert capfd.readouterr() == ("", "")


def test_decode_keeps_the_least_side():
    data = encoded(PHOTOGRAPH)
    for least, shape in ((None, (427, 640)), (214, (427, 640)), (213, (214, 320)), (106, (107, 160)), (10, (54, 80))):
        image = decode(data, least)
        assert image.shape[:2] == shape
        factor = round(640 / shape[1])
        full = np.pad(PHOTOGRAPH, ((0, shape[0] * factor - 427), (0, 0), (0, 0)), "edge")
        reduced = full.reshape(shape[0], factor, shape[1], factor, 3).mean(axis=(1, 3))
        assert np.abs(image - reduced).mean() < 6


def test_damage_after_the_start_reads_alike_at_a_fraction_of_the_size():
    """OpenCV gives up where the data stop before the marker of the end; Pillow then fills with grey, and reduces."""
    data = bytearray(encoded(PHOTOGRAPH))
    data[len(data) // 2 : -2] = b""
    data = bytes(data)
    assert decode(data).shape == (427, 640, 3)
    assert decode(data, 100).shape == (107, 160, 3)
    assert np.abs(decode(data, 100).astype(float) - cv2.resize(decode(data), (160, 107))).mean() < 8


def test_the_same_pixels_in_every_thread():
    files = [KINDS[kind] for kind in ("jpeg", "progressive jpeg", "png", "cmyk jpeg")] * 6

    def crops(_):
        rngs = map(np.random.default_rng, range(len(files)))
        return [crop_for_training(data, 48, 0.05, rng).tobytes() for data, rng in zip(files, rngs, strict=True)]

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert all(beside == crops(None) for beside in pool.map(crops, range(4)))
