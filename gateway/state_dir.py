"""The state directory: made, checked and locked for one gateway (RULINGS 10)."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path


class StateDirError(Exception):
    """The directory cannot be used; the text says why and what would do."""


class Lock:
    """An exclusive ``flock`` that ends with the process, however it ends. Not inherited by workers."""

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        os.close(self._descriptor)


def prepare(directory: Path, lock_file: Path) -> Lock:
    """Make ``directory`` (mode 0700) and lock it. Raises ``StateDirError``."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateDirError(_unusable(directory, error)) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, b"%d\n" % os.getpid())
    except OSError as error:
        owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise StateDirError(_taken(directory, owner)) from error
        raise StateDirError(_unusable(directory, error)) from error
    return Lock(descriptor)


def _unusable(directory: Path, error: OSError) -> str:
    return (
        f"state directory {directory} cannot be used: {error.strerror}; "
        "make it a directory that this user may write, or set TIERGATE_STATE_DIR to another"
    )


def _taken(directory: Path, owner: str) -> str:
    who = f"process {owner}" if owner else "another process"
    return (
        f"state directory {directory} is in use by the gateway of {who}; "
        f"stop it, or give this one its own TIERGATE_STATE_DIR"
    )
