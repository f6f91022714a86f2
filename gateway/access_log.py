"""The access log: one JSON line a request, written by a thread of its own.

Holds names, times, sizes and outcomes; never a credential, a query or a body. ``record`` builds the line and
puts it into a bounded buffer, so a full disk or a reader that has gone costs lines, which are counted and
said once, and never a request.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

from policies.announcement import noted
from policies.fields import tightest
from policies.sla.outcome import Class, classify

if TYPE_CHECKING:
    from policies.admission.decision import Decision
    from policies.exchange import Exchange, Outcome

log = logging.getLogger("tiergate.access_log")

FLUSH_S = 0.2
KEPT_LINES = 20_000
"""Buffered at most: about two seconds of the fastest gateway."""
BATCH = 500
"""Lines that the writer holds beside the buffer."""
PATH_KEPT = 2_048
CHUNK = 4_096
"""``PIPE_BUF``: a write up to this size is atomic on a pipe, so several workers' lines never mix (pipe(7))."""
CLOSE_S = 2.0

STDOUT = "-"
OFF = "off"


def outcome_word(exchange: Exchange, outcome: Outcome) -> str:
    """``allowed``, ``limited``, ``refused``, ``error`` or ``aborted``: what became of the request, in one word."""
    if exchange.client_gone and outcome.truncated_by is None:
        return "aborted"
    if outcome.status >= 500 or outcome.truncated_by is not None:
        return "error"
    said = exchange.announcement
    if outcome.source is not None or (said is not None and said.throttled):
        return "limited"
    return "allowed" if outcome.reason is None else "refused"


Judge: TypeAlias = "Callable[[Exchange, Outcome], Class]"
"""The class of a finished request for the SLA."""


def by_files(exchange: Exchange, outcome: Outcome) -> Class:
    """As the policy files have it."""
    return classify(outcome)


def record_of(exchange: Exchange, outcome: Outcome, second: str, judge: Judge = by_files) -> dict[str, Any]:
    """The line as a mapping; ``second`` is the start's RFC 3339 text to the second."""
    tenant = exchange.tenant
    line = {
        "ts": f"{second}.{exchange.started_wall_us % 1_000_000:06d}Z",
        "request_id": exchange.request_id,
        "trace_id": exchange.trace_id or None,
        "span_id": exchange.span_id or None,
        "method": exchange.method[:32],
        "route": outcome.route,
        "path": exchange.path[:PATH_KEPT],
        "status": outcome.status,
        "duration_ms": outcome.elapsed_us / 1_000,
        "upstream_ms": outcome.upstream_us / 1_000 if exchange.upstream_started_us is not None else None,
        "overhead_ms": (outcome.elapsed_us - outcome.upstream_us) / 1_000,
        "upstream": outcome.upstream,
        "upstream_status": outcome.upstream_status,
        "bytes_in": exchange.bytes_in,
        "bytes_out": exchange.bytes_out,
        "client": exchange.client_address,
        "tenant": outcome.tenant if tenant is None else tenant.id,
        "tier": outcome.tier,
        "key_id": exchange.credential_id,
        "outcome": outcome_word(exchange, outcome),
        "source": outcome.source,
        "origin": outcome.origin,
        "error": outcome.reason,
        "retry_after_s": exchange.retry_after_s,
        "policy": None if exchange.snapshot is None else exchange.snapshot.version,
        "known_us": outcome.known_wall_us,
        "group": outcome.group,
        "cause": judge(exchange, outcome)[1],
    }
    if exchange.decision is not None:
        _add_tightest(line, exchange.decision)
    if exchange.announcement is not None and exchange.announcement.throttled:
        line |= noted(exchange.announcement)
    if outcome.reason is not None or outcome.truncated_by is not None:
        line["phase"] = outcome.phase
        line["truncated_by"] = outcome.truncated_by
        line["detail"] = exchange.detail[:PATH_KEPT]
    return line


def _add_tightest(line: dict[str, Any], decision: Decision) -> None:
    """``limit`` and ``remaining`` of the limit of ours with the lowest share left."""
    index = tightest(decision)
    if index is not None:
        line["limit"] = decision.demand.charges[index].limit.name
        line["remaining"] = decision.readings[index][1]
    if not decision.allowed:
        line["refused_by"] = decision.refused_by
    if decision.shadow_refused:
        line["shadow_refused_by"] = decision.shadow_refused


class AccessLog:
    """The sink. ``target`` is ``-``, a path, or ``off``; ``dropped`` counts lines that were lost."""

    def __init__(self, target: str, judge: Judge = by_files) -> None:
        self.dropped = 0
        self._judge = judge
        self._target = target
        self._lines: deque[bytes] = deque()  # filled by the event loop, emptied by the thread
        self._second = (0, "")
        self._descriptor = -1
        self._failing = False
        self._torn = False
        self._closing = threading.Event()
        self._reopen = threading.Event()
        self._thread: threading.Thread | None = None
        if target != OFF:
            self._descriptor = _open(target)
            self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
            self._thread.start()

    def record(self, exchange: Exchange, outcome: Outcome) -> None:
        """Buffer one line. Never blocks, never raises."""
        if self._thread is None:
            return
        try:
            line = orjson.dumps(
                record_of(exchange, outcome, self._stamp(exchange.started_wall_us), self._judge), default=str
            )
        except Exception:  # a value that JSON cannot carry (a lone surrogate) costs its line only
            self.dropped += 1
            return
        if len(self._lines) >= KEPT_LINES:
            self.dropped += 1
            return
        self._lines.append(line + b"\n")

    def reopen(self) -> None:
        """Open the file again at the next flush, for a rotation that has renamed it."""
        self._reopen.set()

    def close(self) -> None:
        """Write what is buffered, for at most ``CLOSE_S``: a reader that has stopped cannot hold up the exit."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(CLOSE_S)
            self.dropped += len(self._lines)

    def _stamp(self, wall_us: int) -> str:
        second = wall_us // 1_000_000
        if self._second[0] != second:
            text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            self._second = (second, text)
        return self._second[1]

    def _run(self) -> None:
        while not self._closing.wait(FLUSH_S):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        if self._reopen.is_set():
            self._reopen.clear()
            self._renew()
        while self._lines:
            lines = [self._lines.popleft() for _ in range(min(BATCH, len(self._lines)))]
            for chunk, count in _chunks(lines):
                self._attempt(chunk, count)

    def _attempt(self, chunk: bytes, count: int) -> None:
        try:
            self._write(chunk)
        except OSError as error:
            self._lost(count, error)
        else:
            self._recovered()

    def _write(self, chunk: bytes) -> None:
        if self._torn:
            chunk = b"\n" + chunk
        written = 0
        while written < len(chunk):
            try:
                written += os.write(self._descriptor, chunk[written:])
            except BlockingIOError:
                time.sleep(0.01)
                if self._closing.is_set():
                    raise
            except OSError:
                self._torn = self._torn or written > 0
                raise
        self._torn = False

    def _renew(self) -> None:
        if self._target == STDOUT:
            return
        try:
            fresh = _open(self._target)
        except OSError as error:
            log.error("access log %s cannot be reopened: %s; the old file stays", self._target, error.strerror)
            return
        old, self._descriptor, self._torn = self._descriptor, fresh, False
        os.close(old)

    def _lost(self, count: int, error: OSError) -> None:
        self.dropped += count
        if not self._failing:
            self._failing = True
            log.error(
                "access log %s cannot be written: %s; lines are dropped and counted", self._target, error.strerror
            )

    def _recovered(self) -> None:
        if self._failing:
            self._failing = False
            log.warning("access log %s is written again; %d lines were dropped so far", self._target, self.dropped)


def _open(target: str) -> int:
    if target == STDOUT:
        return os.dup(1)
    try:
        return os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise OSError(error.errno, f"TIERGATE_ACCESS_LOG {target} cannot be written: {error.strerror}") from error


def _chunks(lines: list[bytes]) -> list[tuple[bytes, int]]:
    """``lines`` joined into pieces of at most ``CHUNK`` bytes, each of whole lines, with how many."""
    pieces: list[tuple[bytes, int]] = []
    held: list[bytes] = []
    size = 0
    for line in lines:
        if held and size + len(line) > CHUNK:
            pieces.append((b"".join(held), len(held)))
            held, size = [], 0
        held.append(line)
        size += len(line)
    if held:
        pieces.append((b"".join(held), len(held)))
    return pieces
