"""Whether Tiergate recorded every request that was answered: log lines, outcomes, decisions and duration
counts (RULINGS 30).

Reads what an operator reads: the access log and ``/metrics``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from loadtests.instance import get

SETTLE_S = 8.0
"""A worker reports once a second and its log is written five times a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What was recorded so far. ``dropped``: access-log lines that were lost and counted."""

    lines: int
    metrics: int
    outcomes: int
    decisions: int
    dropped: int

    def __sub__(self, other: Counts) -> Counts:
        return Counts(
            lines=self.lines - other.lines,
            metrics=self.metrics - other.metrics,
            outcomes=self.outcomes - other.outcomes,
            decisions=self.decisions - other.decisions,
            dropped=self.dropped - other.dropped,
        )

    def equal(self, requests: int) -> bool:
        return self.lines == self.metrics == self.outcomes == self.decisions == requests and not self.dropped

    def agree(self, at_least: int, at_most: int) -> bool:
        """Each the same, between the two: a client that leaves may not have seen its last answers."""
        return at_least <= self.lines <= at_most and self.equal(self.lines)


def counted(admin: int, access_log: Path) -> Counts:
    """The counts at this moment. Raises ``OSError`` or ``HTTPException``."""
    text = get(admin, "/metrics", "").body
    return Counts(
        lines=lines_of(access_log),
        metrics=total(text, "http_server_request_duration_seconds_count"),
        outcomes=total(text, "gateway_outcomes_recorded_total"),
        decisions=total(text, "gateway_ratelimit_decisions_total"),
        dropped=total(text, "gateway_access_log_dropped_total"),
    )


def settled(admin: int, access_log: Path, enough: Callable[[Counts], bool]) -> Counts:
    """The counts once they are ``enough``, or as they are after ``SETTLE_S``."""
    until = time.monotonic() + SETTLE_S
    while True:
        try:
            found = counted(admin, access_log)
        except (OSError, HTTPException):
            if time.monotonic() >= until:
                raise
        else:
            if enough(found) or time.monotonic() >= until:
                return found
        time.sleep(0.25)


def total(text: str, name: str) -> int:
    """The sum of all series of ``name`` in Prometheus ``text``."""
    lines = (line for line in text.splitlines() if line.partition("{")[0].partition(" ")[0] == name)
    return sum(int(float(line.rpartition(" ")[2])) for line in lines)


def lines_of(path: Path) -> int:
    with path.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))
