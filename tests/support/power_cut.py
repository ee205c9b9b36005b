"""A disk on which nothing is safe that has not been synchronised, for tests of what a power cut leaves behind."""

import contextlib
import os
import pathlib
import random
import stat
import threading

import pytest


class PowerCut(BaseException):
    """Ends the program as a power cut does; nothing catches it."""


class Disk:
    """Follows what a program synchronises below a folder, and can say what the disk would hold without the rest.

    A file that was not synchronised since it was written holds what it did then, or nothing. A name that was created,
    removed or given to another file counts as soon as its folder is synchronised; before that, at random.
    """

    def __init__(self, folder):
        self.folder, self.syncs = pathlib.Path(folder), 0
        self._contents = {}  # of files, by inode, when they were synchronised
        self._names = {}  # of folders, by inode
        self._held = []  # an inode that is held open is not used again
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def until(self, sync):
        """The program within the block, until it synchronises for that time; None: to its end."""
        fsync = os.fsync

        def note(descriptor):
            if self.syncs == sync:  # another thread has not noticed yet
                raise PowerCut
            fsync(descriptor)
            with self._lock:
                self._note(descriptor)
                self.syncs += 1
            if self.syncs == sync:
                raise PowerCut

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", note)
            with contextlib.suppress(PowerCut):
                yield

    def _note(self, descriptor):
        status, path = os.fstat(descriptor), f"/proc/self/fd/{descriptor}"
        self._held.append(os.open(path, os.O_RDONLY))
        if stat.S_ISDIR(status.st_mode):
            self._names[status.st_ino] = {entry.name: self._hold(entry.path) for entry in os.scandir(path)}
        else:
            self._contents[status.st_ino] = pathlib.Path(path).read_bytes()

    def _hold(self, path):
        self._held.append(os.open(path, os.O_RDONLY))
        return os.fstat(self._held[-1]).st_ino, os.path.isdir(path)

    def write_to(self, target, generator):
        """Writes what the disk holds after the cut into an empty folder."""
        self._write(self.folder.stat().st_ino, self.folder, pathlib.Path(target), generator)

    def _write(self, inode, now, target, generator):
        """One folder, from what its names stood for when they were synchronised, and what they stand for now."""
        target.mkdir(parents=True)
        before = self._names.get(inode, {})
        after = {}
        if now is not None and now.is_dir() and now.stat().st_ino == inode:
            after = {path.name: (path.stat().st_ino, path.is_dir()) for path in now.iterdir()}
        for name in sorted(before.keys() | after.keys()):
            entry = before.get(name)
            if entry != after.get(name) and generator.random() < 0.5:
                entry = after.get(name)
            if entry is None:
                continue
            child, is_folder = entry
            if is_folder:
                self._write(child, now and now / name, target / name, generator)
            else:
                (target / name).write_bytes(self._contents.get(child, b""))

    def close(self):
        for descriptor in self._held:
            os.close(descriptor)


def cut_moments(count, syncs, seed=0):
    """Random moments, by the number of synchronisations before them."""
    return sorted(random.Random(seed).sample(range(1, syncs), count))
