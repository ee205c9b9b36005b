"""Which files are pictures: the formats that are read, how pictures are told from other files, and their largest size.

A file is a picture if its name ends like that of a format or, with any other ending, if its content begins like one. So
a folder of a million JPEGs is listed without opening any of them; what ends like a picture and is none shows when it is
decoded. Links count as what they lead to. Whatever is no file is never opened.
"""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Iterator

from PIL import Image

from errors import UserError

MAX_PIXELS = 89_478_485
"""Of a picture that is decoded. Pillow's own limit, 268 MB as RGB, from which on it suspects an attack; several threads
decode at once."""
MAX_BYTES = 8 * MAX_PIXELS
"""Of the file: as many as the largest picture takes uncompressed, with alpha and 16 bits per channel."""

# Icons hold pictures of other formats, whose sizes only Pillow checks: above its limit it warns, above twice that it
# refuses. Both are to be refused.
warnings.simplefilter("error", Image.DecompressionBombWarning)

# Pillow recognises these, but reads the first by running Ghostscript, and the others not at all by itself.
_NOT_READ = {"EPS", "BUFR", "GRIB", "HDF5", "MPEG", "WMF"}


@functools.cache
def formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read."""
    Image.init()
    return tuple(name for name in Image.ID if name not in _NOT_READ)


@functools.cache
def suffixes() -> frozenset[str]:
    """The endings of their names, in lower case: `.jpg`, `.png`, `.webp` and about 50 others."""
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in formats())


class LeftOut:
    """What was found and is not read: how many of each kind, with one example."""

    def __init__(self) -> None:
        self._kinds: dict[str, tuple[int, str]] = {}

    def __bool__(self) -> bool:
        return bool(self._kinds)

    def add(self, kind: str, example: str) -> None:
        """Counts something of a kind; of several examples the first in the alphabet is kept."""
        before, first = self._kinds.get(kind, (0, example))
        self._kinds[kind] = before + 1, min(first, example)

    def __str__(self) -> str:
        """One line, such as `2 × .txt (such as train/cat/notes.txt), 1 × hidden (such as train/.DS_Store)`."""
        kinds = sorted(self._kinds.items())
        return ", ".join(f"{count:,} × {kind} (such as {escape(example)})" for kind, (count, example) in kinds)


def escape(name: str) -> str:
    """A file name as it can be printed in one line, whatever its bytes are."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in name)


def read_file(file: str | os.PathLike[str]) -> bytes:
    """The content of a picture's file.

    Raises:
      OSError: it cannot be read, or has more than `MAX_BYTES`.
    """
    with open(file, "rb", buffering=0) as opened:  # holds Python's lock a third less long
        size = os.fstat(opened.fileno()).st_size
        if size > MAX_BYTES:
            raise OSError(f"{size:,} bytes; at most {MAX_BYTES:,} are read")
        return opened.read()


def find_pictures(root: str | os.PathLike[str], left_out: LeftOut, inside: str = "") -> list[str]:
    """The pictures in a folder and its subfolders, at any depth, in the order of their paths relative to `root`.

    Hidden files and folders are left out, and so are links that lead back to a folder above them.

    Args:
      root: folder.
      left_out: counts what is no picture.
      inside: the subfolder of `root` to look in.

    Raises:
      UserError: a folder cannot be read.
    """
    return sorted(_walk(os.fspath(root), inside, left_out, frozenset()))


def scan(folder: str) -> list[os.DirEntry[str]]:
    """What is in a folder.

    Raises:
      UserError: it cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise UserError(f"the folder {escape(folder)} cannot be read ({error.strerror})") from None


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False


def describe_kind(entry: os.DirEntry[str]) -> str | None:
    """What a file is if it is no picture; None for a picture."""
    if entry.name.startswith("."):
        return "hidden"
    try:
        if not entry.is_file():
            return "broken link" if not os.path.exists(entry.path) else "pipe, socket or device"
    except OSError:
        return "broken link"
    suffix = os.path.splitext(entry.name)[1].lower()
    if suffix in suffixes() or _begins_like_a_picture(entry.path):
        return None
    return suffix or "without an ending"


def _walk(root: str, inside: str, left_out: LeftOut, above: frozenset[tuple[int, int]]) -> Iterator[str]:
    folder = os.path.join(root, inside)
    try:
        stat = os.stat(folder)
    except OSError as error:
        raise UserError(f"the folder {escape(folder)} cannot be read ({error.strerror})") from None
    if (stat.st_dev, stat.st_ino) in above:
        left_out.add("link to a folder above it", inside)
        return
    above |= {(stat.st_dev, stat.st_ino)}
    for entry in scan(folder):
        name = f"{inside}/{entry.name}" if inside else entry.name
        if not entry.name.startswith(".") and is_folder(entry):
            yield from _walk(root, name, left_out, above)
        elif kind := describe_kind(entry):
            left_out.add(kind, name)
        else:
            yield name


def _begins_like_a_picture(file: str) -> bool:
    """Whether the content begins like a format that has a signature; the others could be any bytes."""
    signed = [name for name in formats() if Image.OPEN[name][1] is not None]
    try:
        with Image.open(file, formats=signed):
            return True
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        return True  # decoding it will say that it is too large
    except Exception:  # the readers of the formats raise a dozen types
        return False
