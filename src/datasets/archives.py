"""From archives as their publishers offer them to folders that runs read: checks, unpacks safely, and counts.

Files that are there already stay as they are, so an interrupted script continues when it is started again. A file gets
its name when it is complete.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import hashlib
import importlib.util
import os
import pathlib
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO, Any

from tqdm import tqdm

import command_line
from errors import UserError

_PARTIAL = ".partial"
_CHUNK = 2**22


@dataclasses.dataclass(frozen=True)
class Archive:
    """A file to download.

    Attributes:
      name: of the file.
      page: where to get it.
      digest: its published MD5 (32 hexadecimal digits) or SHA-256 (64).
    """

    name: str
    page: str
    digest: str


Archives = Mapping[str, Archive]
Counts = Mapping[str, tuple[int, int]]
"""How many classes and how many images each subfolder must hold."""


def run_command(description: str, prepare: Callable[[pathlib.Path, pathlib.Path], None]) -> None:
    """Runs `prepare(source, out)` from the command line; a mistake is one line and exit code 2."""
    parser = command_line.Parser(description)
    parser.add_argument("--source", type=pathlib.Path, required=True, help="folder of the downloaded files")
    parser.add_argument(
        "--out", type=pathlib.Path, required=True, help="folder of all data; the set gets its own in it"
    )
    arguments = parser.parse_args()
    command_line.run(lambda: prepare(arguments.source.expanduser(), arguments.out.expanduser()))


def check_present(source: pathlib.Path, archives: Iterable[Archive]) -> None:
    """Refuses a folder that lacks an archive, before the others take hours.

    Raises:
      UserError: one is missing.
    """
    for archive in archives:
        if not (source / archive.name).is_file():
            raise UserError(f"there is no {source / archive.name}; download it from {archive.page}")


def verify(source: pathlib.Path, archive: Archive) -> pathlib.Path:
    """Compares an archive with its published hash and returns its path.

    Raises:
      UserError: it is missing, or has another hash.
    """
    check_present(source, [archive])
    path = source / archive.name
    digest = hashlib.new({32: "md5", 64: "sha256"}[len(archive.digest)])
    with path.open("rb") as file, _show_progress(f"checking {path.name}", path.stat().st_size) as bar:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    if digest.hexdigest() != archive.digest:
        raise UserError(
            f"{path} has the {digest.name.upper()} {digest.hexdigest()}, but {archive.digest} is published; "
            f"download it again from {archive.page}"
        )
    return path


def unpack(path: pathlib.Path, place: Callable[[str], pathlib.Path | None], nested: bool = False) -> None:
    """Unpacks the files of a tar archive, compressed or not.

    Args:
      path: of the archive.
      place: from a name in the archive to where that file belongs; None leaves it out.
      nested: whether the archive holds archives whose files are to be unpacked.

    Raises:
      UserError: the archive is cut off or damaged, or holds links, or names that lead out of it.
    """
    with (
        _explain_damage(path),
        path.open("rb") as file,
        _show_progress(f"unpacking {path.name}", path.stat().st_size) as bar,
    ):
        for name, size, content in _iterate_files(file):
            for inner, inner_size, inner_content in _iterate_files(content) if nested else [(name, size, content)]:
                destination = place(inner)
                if destination is not None:
                    _write(inner_content, inner_size, destination)
            bar.update(file.tell() - bar.n)


def read_member(path: pathlib.Path, name: str) -> bytes:
    """Reads one file of a small archive.

    Raises:
      UserError: as `unpack`, or there is no such file.
    """
    with _explain_damage(path), path.open("rb") as file:
        for member, _, content in _iterate_files(file):
            if member == name:
                return content.read()
    raise UserError(f"{path} holds no {name}")


def check_counts(folder: pathlib.Path, expected: Counts) -> None:
    """Refuses a folder whose subfolders do not hold the expected classes and images.

    Raises:
      UserError: it names the first subfolder that is wrong.
    """
    for name, (classes, images) in expected.items():
        found = count_images(folder / name)
        if found != (classes, images):
            raise UserError(
                f"{folder / name} holds {found[1]} images of {found[0]} classes; there must be {images} of {classes}: "
                "remove what does not belong there and start again"
            )


def find_missing(folder: pathlib.Path, expected: Counts) -> list[str]:
    """The subfolders that do not hold all their classes and images yet."""
    return [name for name, counts in expected.items() if count_images(folder / name) != counts]


def finish(folder: pathlib.Path, counts: Counts) -> None:
    """Checks the counts of a folder that is complete now, and prints them."""
    check_counts(folder, counts)
    splits = ", ".join(f"{name} {images:,} images of {classes:,} classes" for name, (classes, images) in counts.items())
    print(f"{folder}: {splits}")


def count_images(folder: pathlib.Path) -> tuple[int, int]:
    """How many class folders there are, and how many complete files in them."""
    if not folder.is_dir():
        return 0, 0
    with os.scandir(folder) as entries:
        classes = [entry.path for entry in entries if entry.is_dir()]
    files = (name for path in classes for name in os.listdir(path))
    return len(classes), sum(not name.endswith(_PARTIAL) for name in files)


def read_imagenet_classes() -> list[str]:
    """The WordNet ids of ImageNet's 1,000 classes, in the order of their indices; the list comes with tfds."""
    spec = importlib.util.find_spec("tensorflow_datasets")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("tensorflow-datasets is not installed; uv sync installs it")
    package = pathlib.Path(spec.submodule_search_locations[0])
    return (package / "datasets" / "imagenet2012" / "labels.txt").read_text().split()


def _iterate_files(file: IO[bytes]) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Name, size and content of each file in a tar archive."""
    with tarfile.open(fileobj=file) as tar:
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # otherwise a million of them stay in memory
            if member.name.startswith("/") or ".." in pathlib.PurePosixPath(member.name).parts:
                raise tarfile.FilterError(f"{member.name!r} leads out of it")
            if not member.isreg() and not member.isdir():
                raise tarfile.FilterError(f"{member.name!r} is a link or a device")
            if member.isreg():
                content = tar.extractfile(member)
                assert content is not None  # because it is a file
                yield member.name.removeprefix("./"), member.size, content


def _write(content: IO[bytes], size: int, destination: pathlib.Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if destination.stat().st_size == size:
            return
    destination.parent.mkdir(parents=True, exist_ok=True)
    partial = destination.with_name(destination.name + _PARTIAL)
    with partial.open("wb") as file:
        shutil.copyfileobj(content, file, _CHUNK)
    partial.replace(destination)


@contextlib.contextmanager
def _explain_damage(path: pathlib.Path) -> Iterator[None]:
    """Turns what tarfile and the decompressors raise into one line."""
    try:
        yield
    except tarfile.FilterError as error:
        raise UserError(f"{path} is not safe to unpack: {error}") from None
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise UserError(f"{path} is cut off or damaged ({error}); download it again") from None


def _show_progress(what: str, total: int) -> Any:
    return tqdm(desc=what, total=total, unit="B", unit_scale=True, disable=None)
