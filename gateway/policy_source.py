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
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from watchfiles import awatch

from gateway.last_good import LastGood, walked
from policies.format.findings import Finding, clean, headline
from policies.model import PolicySet
from policies.snapshot import Snapshot

log = logging.getLogger("tiergate.policy")
T = TypeVar("T")

POLL_S = 30.0
QUIET_MS = 250
GLANCE_MS = 1_000
"""How often the directory itself is looked at: a removed or swapped one never reports an event."""
MOST_FINDINGS = 200
LONGEST_FINDING = 500
"""A renamed tier is a finding for each of a hundred thousand tenants; nobody reads more, and the line is bounded."""
DIGEST = 16
COARSE_NS = 2_000_000_000
"""A file changed this shortly before it was read may change again without its time telling."""


class Loaded(Protocol):
    """What a loader answers: ``policy`` is None when any finding is an error."""

    @property
    def policy(self) -> PolicySet | None: ...

    @property
    def findings(self) -> Any: ...

    @property
    def files(self) -> Iterable[Path]:
        """Everything that was read, secrets and tenants file included."""

    @property
    def substituted(self) -> frozenset[str]:
        """Values that came from outside the files."""


Objection = Callable[[PolicySet], Iterable[str]]
"""Why a good policy cannot be served by this process; nothing when it can."""


class Loader(Protocol):
    def __call__(self, directory: Path, *, env: Mapping[str, str], secrets_dir: Path | None) -> Loaded: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """One look: what was ``seen``, the compiled set or None, the complaints, and all that the load read."""

    seen: bytes
    snapshot: Snapshot | None
    findings: tuple[str, ...]
    files: tuple[Path, ...] = ()
    substituted: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reload:
    """What became of one look at the directory. ``version`` is what is in force afterwards."""

    outcome: Literal["accepted", "unchanged", "rejected"]
    version: str
    findings: tuple[str, ...] = ()


class PolicyRejected(Exception):
    """A cold start found no usable policy; ``findings`` are the complaints as ``check`` prints them."""

    def __init__(self, findings: tuple[str, ...]) -> None:
        super().__init__(_counted(len(findings), "complaint"))
        self.findings = findings


class PolicySource:
    """``policies.ports.PolicySource`` over a directory.

    ``files`` are what the first load read; ``quiet`` leaves its warnings to another process that loads the same.
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
        last_good: LastGood | None = None,
        objection: Objection = lambda policy: (),
        quiet: bool = False,
    ) -> None:
        self.directory = directory
        self.on_change: list[Callable[[Snapshot], None]] = []
        self.on_reload: list[Callable[[Reload], None]] = []
        self._env = env
        self._secrets_dir = secrets_dir
        self._load = load or _loader()
        self._last_good = last_good
        self._objection = objection
        self._quiet = quiet
        self.files: tuple[Path, ...] = ()
        self._lock = asyncio.Lock()
        self._seen = b""
        self._outside: tuple[Path, ...] = ()
        self._complained: tuple[str, ...] = ()
        self._substituted: frozenset[str] = frozenset()
        self._last_good_at = time.time()
        self._in_force: Snapshot | None = None  # as the loading thread sees it
        self._current = self._in_force = self._first()

    @property
    def current(self) -> Snapshot:
        return self._current

    @property
    def complaints(self) -> tuple[str, ...]:
        """Why what is on disk is not in force; empty when it is."""
        return self._complained

    @property
    def substituted(self) -> frozenset[str]:
        """Values in ``current`` that came from variables and secret files; never to be shown."""
        return self._substituted

    @property
    def last_success_s(self) -> float:
        """Unix time at which the directory was last found good."""
        return self._last_good_at

    async def reload(self) -> Reload:
        """Read the directory now, whatever it looks like. Never raises for what is in it."""
        async with self._lock:
            return self._settle(await asyncio.to_thread(self._read))

    async def reload_if_changed(self) -> Reload | None:
        """``reload`` when the content differs from what was last looked at, else None."""
        async with self._lock:
            seen = await asyncio.to_thread(fingerprint, self.directory, self._secrets_dir, self._outside)
            if seen == self._seen:
                return None
            return self._settle(await asyncio.to_thread(self._read))

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
        read = self._read()
        self._seen = read.seen
        if read.snapshot is None:
            return self._from_copy(read.findings)
        for finding in () if self._quiet else read.findings:
            log.warning("%s", finding)
        self.files = read.files
        self._substituted = read.substituted
        return read.snapshot

    def _from_copy(self, findings: tuple[str, ...]) -> Snapshot:
        """The last good set, for a worker that replaces another while a broken edit is on disk."""
        place = self._last_good.place() if self._last_good is not None else None
        if place is None:
            raise PolicyRejected(findings)
        loaded = self._load(place[0], env=self._env, secrets_dir=place[1])
        if loaded.policy is None:
            raise PolicyRejected(findings)
        self._complained, self._substituted = findings, loaded.substituted
        log.error("policy rejected, starting with the last good version %s", loaded.policy.version)
        for finding in findings:
            log.error("%s", finding)
        return Snapshot(loaded.policy)

    def _read(self) -> _Read:
        """In a thread: what is there now. The fingerprint comes first, so that a later change is seen again."""
        seen = fingerprint(self.directory, self._secrets_dir, self._outside)
        began_ns = time.time_ns()
        try:
            if not self.directory.is_dir():
                return _Read(seen=seen, snapshot=None, findings=(_missing(self.directory),))
            with _gently():
                loaded = self._load(self.directory, env=self._env, secrets_dir=self._secrets_dir)
                return self._judged(loaded, seen, began_ns)
        except Exception as error:  # a bug in the loader must not take the last good set away
            log.debug("loading %s failed", self.directory, exc_info=True)
            finding = f"{self.directory}: cannot be loaded: {type(error).__name__}: {error}"[:LONGEST_FINDING]
            return _Read(seen=seen, snapshot=None, findings=(finding,))

    def _judged(self, loaded: Loaded, seen: bytes, began_ns: int) -> _Read:
        """Still in the thread: everything that takes time is done before the event loop sees the set."""
        files = tuple(loaded.files)
        seen = self._seen_with(files, seen, began_ns)
        policy = loaded.policy
        objections = tuple(self._objection(policy)) if policy is not None else ()
        if policy is None or objections:
            return _Read(seen=seen, snapshot=None, findings=objections or _lines(loaded.findings))
        current = self._in_force
        snapshot = current if current is not None and current.version == policy.version else Snapshot(policy)
        if self._last_good is not None:
            self._last_good.keep(policy.version, files)
        return _Read(
            seen=seen, snapshot=snapshot, findings=_lines(loaded.findings), files=files, substituted=loaded.substituted
        )

    def _seen_with(self, files: tuple[Path, ...], seen: bytes, began_ns: int) -> bytes:
        """``seen`` with the files that a load found outside the folders, which the look before it did not know."""
        inside = {
            os.path.realpath(path) for root in (self.directory, self._secrets_dir) if root for path in walked(root)
        }
        outside = tuple(path for path in files if os.path.realpath(path) not in inside)
        if outside == self._outside:
            return seen
        self._outside = outside
        if any(_changed_ns(path) > began_ns - COARSE_NS for path in outside):
            return b""  # may have changed after it was read: look again
        return seen[:DIGEST] + _digest(outside)

    def _settle(self, read: _Read) -> Reload:
        self._seen = read.seen
        reload = self._swap(read)
        _tell(self.on_reload, reload)
        return reload

    def _swap(self, read: _Read) -> Reload:
        snapshot, findings = read.snapshot, read.findings
        if snapshot is None:
            self._complain(findings)
            return Reload(outcome="rejected", version=self._current.version, findings=findings)
        self._last_good_at = time.time()
        recovered, self._complained = bool(self._complained), ()
        self._substituted = read.substituted
        if snapshot.version == self._current.version:
            if recovered:
                log.info("policy directory is good again, version %s stays in force", snapshot.version)
            return Reload(outcome="unchanged", version=snapshot.version, findings=findings)
        before, self._current = self._current.version, snapshot
        self._in_force = snapshot
        tenants = _counted(len(snapshot.policy.tenants), "tenant")
        log.info("policy %s in force, was %s (%s)", snapshot.version, before, tenants)
        _tell(self.on_change, self._current)
        return Reload(outcome="accepted", version=snapshot.version, findings=findings)

    def _complain(self, findings: tuple[str, ...]) -> None:
        if findings == self._complained:
            return
        self._complained = findings
        log.error("policy rejected, version %s stays in force", self._current.version)
        for finding in findings:
            log.error("%s", finding)


def _lines(findings: Any) -> tuple[str, ...]:
    """The first ``MOST_FINDINGS`` as lines, and how many there are more."""
    errors_first = sorted(findings, key=lambda finding: getattr(finding, "severity", "error") != "error")
    lines = [_line(finding)[:LONGEST_FINDING] for finding in errors_first[:MOST_FINDINGS]]
    if len(findings) > MOST_FINDINGS:
        lines.append(f"... and {len(findings) - MOST_FINDINGS:,} more; `tiergate check` shows all")
    return tuple(lines)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _missing(directory: Path) -> str:
    what = "is not a directory" if directory.exists() else "does not exist"
    return f"{directory}: the policy directory {what}; put it back, or stop the gateway"


def _changed_ns(path: Path) -> int:
    try:
        status = path.stat()
    except OSError:
        return sys.maxsize
    return max(status.st_mtime_ns, status.st_ctime_ns)


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


def fingerprint(directory: Path, secrets_dir: Path | None = None, outside: Iterable[Path] = ()) -> bytes:
    """A digest of every file a load may read: below both folders, links followed, and those found ``outside``."""
    digest = hashlib.blake2b(digest_size=DIGEST)
    for root in (directory, secrets_dir):
        if root is not None:
            digest.update(_digest(walked(root, hidden_files=root is secrets_dir)))
            digest.update(b"\1" if root.is_dir() else b"\2")
    return digest.digest() + _digest(outside)


def _digest(paths: Iterable[Path]) -> bytes:
    digest = hashlib.blake2b(digest_size=DIGEST)
    for path in paths:
        digest.update(os.fsencode(path) + b"\0" + _content(str(path)))
    return digest.digest()


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
