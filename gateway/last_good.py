"""A copy of the files behind the policy in force, for a worker that must start while a broken edit is on disk.

Written after every good load, read only by a worker whose directory is rejected. The copy mirrors absolute paths
below ``last-good/VERSION``, so that a ``tenants_from`` beside the directory is found again. It may hold secrets:
folders are 0700, files 0600, and the supervisor removes it all when it starts and when it ends.
"""

from __future__ import annotations

import logging
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

log = logging.getLogger("tiergate.policy")

FOLDER = "last-good"
POINTER = "current"
DEEPEST = 16
"""As deep as a load follows folders (``policy_files.DEEPEST_FOLDER``)."""


class LastGood:
    """The copies below ``state_dir`` of the set in ``directory`` with its ``secrets_dir``."""

    def __init__(self, state_dir: Path, directory: Path, secrets_dir: Path | None = None) -> None:
        self._folder = state_dir / FOLDER
        self._directory = directory
        self._secrets_dir = secrets_dir

    def keep(self, version: str, files: Iterable[Path]) -> None:
        """Copy what version ``version`` was made of; a failure is logged and costs only the copy."""
        try:
            if self._kept() != version:
                self._copy(version, files)
        except OSError as error:
            log.warning("the last good policy cannot be kept in %s: %s", self._folder, error.strerror or error)

    def place(self) -> tuple[Path, Path | None] | None:
        """The directory and the secrets folder of the copy, None when there is none."""
        version = self._kept()
        if version is None:
            return None
        root = self._folder / version
        return _mirrored(root, self._directory), _mirrored(root, self._secrets_dir) if self._secrets_dir else None

    def remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def _kept(self) -> str | None:
        try:
            version = (self._folder / POINTER).read_text("ascii").strip()
        except OSError:
            return None
        return version if version and (self._folder / version).is_dir() else None

    def _copy(self, version: str, files: Iterable[Path]) -> None:
        """Complete under another name first: whoever dies half-way leaves the copy before it in place."""
        _make(self._folder)
        fresh = self._folder / f"new-{os.getpid()}"
        shutil.rmtree(fresh, ignore_errors=True)
        _make(_mirrored(fresh, self._directory))
        for source, target in self._pairs(files):
            _copy_file(source, _mirrored(fresh, target))
        if not (self._folder / version).is_dir():
            fresh.rename(self._folder / version)
        pointer = self._folder / f"new-{os.getpid()}.pointer"
        pointer.write_text(version, "ascii")
        pointer.replace(self._folder / POINTER)
        self._sweep(version)

    def _sweep(self, version: str) -> None:
        for entry in self._folder.iterdir():
            if entry.name not in (version, POINTER):
                shutil.rmtree(entry, ignore_errors=True)

    def _pairs(self, files: Iterable[Path]) -> Iterator[tuple[Path, Path]]:
        """What to copy and whose place it takes: secrets are read through links, and are found under their names."""
        read = {os.path.realpath(path): path for path in files}
        yield from ((path, path) for path in read.values())
        if self._secrets_dir is not None:
            for path in walked(self._secrets_dir, hidden_files=True):
                if os.path.realpath(path) in read:
                    yield path, path


def walked(root: Path, *, hidden_files: bool = False) -> Iterator[Path]:
    """Files below ``root`` as a load meets them: sorted, links followed, no folder twice, none that is hidden."""
    seen: set[str] = set()

    def folder(path: Path, depth: int) -> Iterator[Path]:
        real = os.path.realpath(path)
        if real in seen or depth > DEEPEST:
            return
        seen.add(real)
        try:
            names = sorted(os.listdir(path))
        except OSError:
            return
        for name in names:
            entry = path / name
            if entry.is_dir():
                yield from () if name.startswith(".") else folder(entry, depth + 1)
            elif hidden_files or not name.startswith("."):
                yield entry

    return folder(root, 0)


def _mirrored(root: Path, path: Path) -> Path:
    return root / os.path.abspath(path).lstrip("/")


def _make(folder: Path) -> None:
    """One by one: ``parents=True`` would give those in between the mode of any folder."""
    for one in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
        one.mkdir(mode=0o700)


def _copy_file(source: Path, target: Path) -> None:
    _make(target.parent)
    descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as read:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        with os.fdopen(os.open(target, flags, 0o600), "wb") as written:
            shutil.copyfileobj(read, written, 1 << 20)
