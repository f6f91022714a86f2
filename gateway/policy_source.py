"""Which policy is in force: loads a directory, watches it, swaps one reference, keeps the last good set.

Never parses itself (``gateway.policy_files`` does) and never answers a request. What changed is decided by
content, not by modification times, so that a ConfigMap swap or a checkout that only touches files costs
nothing (DESIGN §4, RULINGS 19). Parsing runs in a thread; state is keyed by tenant and limit name, so
counters survive a swap by themselves.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import logging
import math
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from watchfiles import awatch

from policies.findings import Finding, clean, headline
from policies.model import PolicySet
from policies.snapshot import Snapshot

log = logging.getLogger("tiergate.policy")
T = TypeVar("T")

POLL_S = 30.0
QUIET_MS = 250
GLANCE_MS = 1_000
"""How often the directory itself is looked at: a removed or swapped one never reports an event."""


class Loaded(Protocol):
    """What a loader answers: ``policy`` is None when any finding is an error."""

    @property
    def policy(self) -> PolicySet | None: ...

    @property
    def findings(self) -> Any: ...


class Loader(Protocol):
    def __call__(self, directory: Path, *, env: Mapping[str, str], secrets_dir: Path | None) -> Loaded: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Reload:
    """What became of one look at the directory. ``version`` is what is in force afterwards."""

    outcome: Literal["accepted", "unchanged", "rejected"]
    version: str
    findings: tuple[str, ...] = ()


class PolicyRejected(Exception):
    """A cold start found no usable policy; ``findings`` are the complaints as ``check`` prints them."""

    def __init__(self, findings: tuple[str, ...]) -> None:
        super().__init__(f"{len(findings)} complaints")
        self.findings = findings


class PolicySource:
    """``policies.ports.PolicySource`` over a directory.

    ``on_change`` is called with each snapshot put in force, ``on_reload`` with each ``Reload``, both on
    the event loop's thread.
    """

    def __init__(
        self,
        directory: Path,
        *,
        env: Mapping[str, str],
        secrets_dir: Path | None = None,
        load: Loader | None = None,
    ) -> None:
        self.directory = directory
        self.on_change: list[Callable[[Snapshot], None]] = []
        self.on_reload: list[Callable[[Reload], None]] = []
        self._env = env
        self._secrets_dir = secrets_dir
        self._load = load or _loader()
        self._lock = asyncio.Lock()
        self._seen = b""
        self._complained: tuple[str, ...] = ()
        self._last_good_at = time.time()
        self._current = self._first()

    @property
    def current(self) -> Snapshot:
        return self._current

    @property
    def complaints(self) -> tuple[str, ...]:
        """Why what is on disk is not in force; empty when it is."""
        return self._complained

    @property
    def last_success_s(self) -> float:
        """Unix time at which the directory was last found good."""
        return self._last_good_at

    async def reload(self) -> Reload:
        """Read the directory now, whatever it looks like. Never raises for what is in it."""
        async with self._lock:
            return self._settle(*await asyncio.to_thread(self._read))

    async def reload_if_changed(self) -> Reload | None:
        """``reload`` when the content differs from what was last looked at, else None."""
        async with self._lock:
            seen = await asyncio.to_thread(fingerprint, self.directory, self._secrets_dir)
            if seen == self._seen:
                return None
            return self._settle(*await asyncio.to_thread(self._read))

    async def watch(self, *, poll_s: float = POLL_S) -> None:
        """Follow the directory until cancelled: events, a poll every ``poll_s``, and its own disappearance."""
        while True:
            polled_at = -math.inf  # the first tick looks: what changed before the watch stood told no event
            place = _place(self.directory)
            try:
                async for changes in self._events():
                    moved = _place(self.directory) != place
                    if changes or moved or time.monotonic() - polled_at >= poll_s:
                        await self.reload_if_changed()
                        polled_at = time.monotonic()
                    if moved:
                        break
            except (OSError, RuntimeError) as error:
                log.debug("watching %s failed: %s", self.directory, error)
                await asyncio.sleep(GLANCE_MS / 1_000)
                await self.reload_if_changed()

    def _events(self) -> Any:
        paths = [path for path in (self.directory, self._secrets_dir) if path is not None and path.exists()]
        if not self.directory.is_dir():
            raise FileNotFoundError(self.directory)
        return awatch(
            *paths, watch_filter=None, step=QUIET_MS, debounce=2_000, rust_timeout=GLANCE_MS, yield_on_timeout=True
        )

    def _first(self) -> Snapshot:
        self._seen, policy, findings = self._read()
        if policy is None:
            raise PolicyRejected(findings)
        for finding in findings:
            log.warning("%s", finding)
        return Snapshot(policy)

    def _read(self) -> tuple[bytes, PolicySet | None, tuple[str, ...]]:
        """In a thread: what is there now. The fingerprint comes first, so that a later change is seen again."""
        seen = fingerprint(self.directory, self._secrets_dir)
        try:
            with _gently():
                loaded = self._load(self.directory, env=self._env, secrets_dir=self._secrets_dir)
            return seen, loaded.policy, tuple(map(_line, loaded.findings))
        except Exception as error:  # a bug in the loader must not take the last good set away
            log.debug("loading %s failed", self.directory, exc_info=True)
            return seen, None, (f"{self.directory}: cannot be loaded: {type(error).__name__}: {error}",)

    def _settle(self, seen: bytes, policy: PolicySet | None, findings: tuple[str, ...]) -> Reload:
        self._seen = seen
        reload = self._swap(policy, findings)
        _tell(self.on_reload, reload)
        return reload

    def _swap(self, policy: PolicySet | None, findings: tuple[str, ...]) -> Reload:
        if policy is None:
            self._complain(findings)
            return Reload(outcome="rejected", version=self._current.version, findings=findings)
        self._last_good_at = time.time()
        recovered, self._complained = bool(self._complained), ()
        if policy.version == self._current.version:
            if recovered:
                log.info("policy directory is good again, version %s stays in force", policy.version)
            return Reload(outcome="unchanged", version=policy.version, findings=findings)
        before, self._current = self._current.version, Snapshot(policy)
        log.info("policy %s in force, was %s (%d tenants)", policy.version, before, len(policy.tenants))
        _tell(self.on_change, self._current)
        return Reload(outcome="accepted", version=policy.version, findings=findings)

    def _complain(self, findings: tuple[str, ...]) -> None:
        if findings == self._complained:
            return
        self._complained = findings
        log.error("policy rejected, version %s stays in force: %d complaints", self._current.version, len(findings))
        for finding in findings:
            log.error("%s", finding)


@contextmanager
def _gently() -> Iterator[None]:
    """Make much while traffic flows: a hundred thousand tenants are a million objects.

    The thread gives the interpreter back every half millisecond instead of every five, and what it made is
    set aside before collection resumes, which would otherwise walk all of it in one pause.
    """
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
        sys.setswitchinterval(interval_s)


def _tell(hooks: list[Callable[[T], None]], value: T) -> None:
    """Every hook hears of it, also when one of them fails."""
    for hook in hooks:
        try:
            hook(value)
        except Exception:
            log.exception("a hook failed; the policy is in force all the same")


def fingerprint(directory: Path, secrets_dir: Path | None = None) -> bytes:
    """A digest of every file below ``directory`` and ``secrets_dir``; what cannot be read counts as its error."""
    digest = hashlib.blake2b(digest_size=16)
    for root in (directory, secrets_dir):
        if root is not None:
            for path in _files(root):
                digest.update(os.fsencode(path) + b"\0" + _content(path))
            digest.update(b"\1" if root.is_dir() else b"\2")
    return digest.digest()


def _files(root: Path) -> list[str]:
    """Paths below ``root``, sorted; the ``..data`` folders of a ConfigMap are seen through their links only."""
    found: list[str] = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found.extend(os.path.join(folder, name) for name in files)
    return sorted(found)


def _content(path: str) -> bytes:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return b"not a file"  # opening a pipe would wait for ever
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "blake2b").digest()
    except OSError as error:
        return f"errno {error.errno}".encode()


def _place(directory: Path) -> tuple[int, int] | None:
    """The identity of the directory: changes when it is removed, replaced or re-linked."""
    try:
        status = directory.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _loader() -> Loader:
    from gateway.policy_files import load  # its schema library costs a fifth of a second to import

    return load


def _line(finding: Any) -> str:
    """A finding as one line, without the source line that ``check`` shows below it."""
    if isinstance(finding, Finding):
        return headline(finding) + (f" ({clean(finding.hint)})" if finding.hint else "")
    return str(finding)
