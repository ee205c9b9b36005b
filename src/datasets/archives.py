"""From archives as their publishers offer them to folders that runs read: checked, unpacked safely, counted.

What is there already is left as it is, so a script that was cut off goes on when it is started again. A file gets its
name when it is whole.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gzip
import hashlib
import importlib.util
import os
import pathlib
import shutil
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO, Any

from tqdm import tqdm

from errors import UserError

_PARTIAL = ".partial"
_CHUNK = 2**22


@dataclasses.dataclass(frozen=True)
class Archive:
    """A file to download.

    Attributes:
      name: of the file.
      page: where it is to be had.
      digest: its published MD5 (32 hexadecimal digits) or SHA-256 (64).
    """

    name: str
    page: str
    digest: str


def command(description: str, prepare: Callable[[pathlib.Path, pathlib.Path], None]) -> None:
    """The command line of a script: `prepare(source, out)`; a mistake is one line and exit code 2."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=pathlib.Path, required=True, help="folder of the downloaded files")
    parser.add_argument(
        "--out", type=pathlib.Path, required=True, help="folder of all data; the set gets its own in it"
    )
    arguments = parser.parse_args()
    try:
        prepare(arguments.source, arguments.out)
    except (UserError, OSError) as error:
        print(f"{pathlib.Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        sys.exit(2)


def check_present(source: pathlib.Path, archives: Iterable[Archive]) -> None:
    """Refuses a folder that lacks an archive, before hours go into the others.

    Raises:
      UserError: when one is not there.
    """
    for archive in archives:
        if not (source / archive.name).is_file():
            raise UserError(f"there is no {source / archive.name}; download it from {archive.page}")


def verify(source: pathlib.Path, archive: Archive) -> pathlib.Path:
    """The archive's path, if it is there and is what was published.

    Raises:
      UserError: when it is not.
    """
    check_present(source, [archive])
    path = source / archive.name
    digest = hashlib.new({32: "md5", 64: "sha256"}[len(archive.digest)])
    with path.open("rb") as file, _bar(f"checking {path.name}", path.stat().st_size) as bar:
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
    """Writes the files of a tar archive, compressed or not.

    Args:
      path: of the archive.
      place: from a name in the archive to where that file belongs; None leaves it out.
      nested: the archive holds archives, and their files are meant.

    Raises:
      UserError: when the archive is cut off or damaged, or holds links, or names that lead out of it.
    """
    with _reading(path), path.open("rb") as file, _bar(f"unpacking {path.name}", path.stat().st_size) as bar:
        for name, size, content in _files(file):
            for inner, inner_size, inner_content in _files(content) if nested else [(name, size, content)]:
                destination = place(inner)
                if destination is not None:
                    _write(inner_content, inner_size, destination)
            bar.update(file.tell() - bar.n)


def read_member(path: pathlib.Path, name: str) -> bytes:
    """One file's content out of a small archive.

    Raises:
      UserError: as `unpack`, and when there is no such file.
    """
    with _reading(path), path.open("rb") as file:
        for member, _, content in _files(file):
            if member == name:
                return content.read()
    raise UserError(f"{path} holds no {name}")


def check_counts(folder: pathlib.Path, expected: Mapping[str, tuple[int, int]]) -> None:
    """Refuses a folder whose subfolders do not hold so many classes and images.

    Raises:
      UserError: with the first subfolder that does not.
    """
    for name, (classes, images) in expected.items():
        found = count_images(folder / name)
        if found != (classes, images):
            raise UserError(
                f"{folder / name} holds {found[1]} images of {found[0]} classes; there must be {images} of {classes}: "
                "remove what does not belong there, and start again"
            )


def is_prepared(folder: pathlib.Path, expected: Mapping[str, tuple[int, int]]) -> bool:
    """Whether everything is there already."""
    return all(count_images(folder / name) == counts for name, counts in expected.items())


def report(folder: pathlib.Path, counts: Mapping[str, tuple[int, int]]) -> None:
    """Prints what a folder now holds."""
    splits = ", ".join(f"{name} {images:,} images of {classes:,} classes" for name, (classes, images) in counts.items())
    print(f"{folder}: {splits}")


def count_images(folder: pathlib.Path) -> tuple[int, int]:
    """How many class folders there are, and how many whole files in them."""
    if not folder.is_dir():
        return 0, 0
    with os.scandir(folder) as entries:
        classes = [entry.path for entry in entries if entry.is_dir()]
    files = (name for path in classes for name in os.listdir(path))
    return len(classes), sum(not name.endswith(_PARTIAL) for name in files)


def imagenet_classes() -> list[str]:
    """The WordNet ids of ImageNet's 1,000 classes, in the order of their indices; tfds brings the list."""
    spec = importlib.util.find_spec("tensorflow_datasets")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("tensorflow-datasets is not installed; uv sync installs it")
    package = pathlib.Path(spec.submodule_search_locations[0])
    return (package / "datasets" / "imagenet2012" / "labels.txt").read_text().split()


def _files(file: IO[bytes]) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Name, size and content of each file in a tar archive."""
    with tarfile.open(fileobj=file) as tar:
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # or a million of them would stay in memory
            if member.name.startswith("/") or ".." in pathlib.PurePosixPath(member.name).parts:
                raise tarfile.FilterError(f"{member.name!r} leads out of it")
            if not member.isreg() and not member.isdir():
                raise tarfile.FilterError(f"{member.name!r} is a link or a device")
            if member.isreg():
                content = tar.extractfile(member)
                assert content is not None  # it is a file
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
def _reading(path: pathlib.Path) -> Iterator[None]:
    """What tarfile and the decompressors raise, in one line."""
    try:
        yield
    except tarfile.FilterError as error:
        raise UserError(f"{path} is not safe to unpack: {error}") from None
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise UserError(f"{path} is cut off or damaged ({error}); download it again") from None


def _bar(what: str, total: int) -> Any:
    return tqdm(desc=what, total=total, unit="B", unit_scale=True, disable=None)
