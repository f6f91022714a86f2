"""What a row of a table says, and how it is played.

A case is a distinct fault or behaviour (byte positions and engines are parameters, not cases). ``play`` runs it
and judges the outcome, how often the origin saw the request, and whether the connection was used again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pytest

from policies.model import Timeouts
from tests.upstreams.conformance.engines import ENGINES
from tests.upstreams.conformance.origin import Act, Origin, Script, Step, turns
from tests.upstreams.conformance.stage import PATIENT, QUICK, Failed, Reply, outcome, pieces, request, staged

MALFORMED = frozenset(
    (
        "http_protocol_error",
        "http_response_header_section_size",
        "http_response_header_size",
        "http_response_transfer_coding",
        "http_response_trailer_section_size",
        "http_response_trailer_size",
        "http_upgrade_failed",
    )
)
"""RFC 9209 2.3.20-2.3.29: the answer is not what RFC 9112 allows."""
CUT = frozenset(("connection_terminated", "http_response_incomplete"))
"""RFC 9209 2.3.8, 2.3.17: the connection ended before the answer did."""
SLOW = frozenset(("http_response_timeout", "connection_read_timeout"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A complete answer. ``fields`` are all of it but the framing; None: not looked at.

    ``reused``: the next call must, must not, or (None) may come over the same connection.
    """

    status: int = 200
    body: bytes = b"ok"
    fields: tuple[tuple[bytes, bytes], ...] | None = None
    reused: bool | None = True

    def problems(self, result: Reply | Failed) -> Iterable[str]:
        if isinstance(result, Failed):
            yield f"failed: {result.error!r} ({result.error.proxy_error}, {result.error.phase})"
            return
        if (result.status, result.body) != (self.status, self.body):
            yield f"got {result.status} {result.body[:200]!r}"
        got = tuple(pair for pair in result.headers if pair[0] not in (b"content-length", b"transfer-encoding"))
        if self.fields is not None and got != self.fields:
            yield f"fields {got!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A ``TransportError``. ``began``: the head may have been handed over, and of ``content`` a first part."""

    code: str = "upstream-protocol"
    words: frozenset[str] = MALFORMED
    phases: frozenset[str] = frozenset(("upstream_wait",))
    began: bool = False
    content: bytes = b""
    reused: bool | None = False

    def problems(self, result: Reply | Failed) -> Iterable[str]:
        if isinstance(result, Reply):
            yield f"answered {result.status} {result.body[:200]!r} {result.headers!r}"
            return
        error = result.error
        if error.code != self.code or error.proxy_error not in self.words or error.phase not in self.phases:
            yield f"failed otherwise: {error!r} ({error.proxy_error}, {error.phase})"
        if result.began and not self.began:
            yield "a head that is not valid was handed over"
        if not self.content.startswith(result.body):
            yield f"content {result.body[:200]!r}"


def in_body(content: bytes = b"", words: frozenset[str] = MALFORMED) -> Fault:
    """A fault behind a valid head."""
    return Fault(words=words, phases=frozenset(("upstream_body",)), began=True, content=content)


HEAD_FAULT = Fault()
HEAD_CUT = Fault(words=CUT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lenient:
    """What one engine does instead, and why that harms nobody."""

    reason: str
    instead: Answer | Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row. ``scripts``: what the origin does at the first sight of the request, at the second, and so on.

    ``expect``: any one of these. ``seen``: how often the origin may see the request. ``primed``: the connection
    has served another caller before. A script with ``Act.GO`` goes on after the outcome, before the next caller.
    """

    name: str
    scripts: tuple[Script, ...]
    expect: tuple[Answer | Fault, ...]
    method: bytes = b"GET"
    fields: tuple[tuple[bytes, bytes], ...] = ()
    body: tuple[bytes, ...] | None = None
    content_length: int | None = None
    seen: int | None = 1
    primed: bool = False
    early: bool = False
    greeting: bytes = b""
    timeouts: Timeouts | None = None
    lenient: Mapping[str, Lenient] = field(default_factory=dict)

    @property
    def deadlines(self) -> Timeouts:
        """Quick where a deadline is what the row expects."""
        timed = any(isinstance(one, Fault) and one.code == "upstream-timeout" for one in self.expect)
        return self.timeouts or (QUICK if timed else PATIENT)

    def expected(self, engine: str) -> tuple[Answer | Fault, ...]:
        return (self.lenient[engine].instead,) if engine in self.lenient else self.expect


def fails(name: str, *script: Step, expect: Fault = HEAD_FAULT, **more: object) -> Case:
    """A row whose answer must be refused."""
    return Case(name=name, scripts=(script,), expect=(expect,), **more)  # type: ignore[arg-type]


def passes(name: str, *script: Step, expect: Answer | None = None, **more: object) -> Case:
    """A row whose answer must arrive."""
    return Case(name=name, scripts=(script,), expect=(expect or Answer(),), **more)  # type: ignore[arg-type]


def either(name: str, *script: Step, expect: tuple[Answer | Fault, ...], **more: object) -> Case:
    """A row where the specification leaves a choice."""
    return Case(name=name, scripts=(script,), expect=expect, **more)  # type: ignore[arg-type]


def answer(*fields: bytes, line: bytes = b"HTTP/1.1 200 OK", body: bytes = b"ok", length: bool = True) -> bytes:
    """An answer's octets; ``length`` adds the Content-Length that fits."""
    framing = (b"content-length: %d" % len(body),) if length else ()
    return b"\r\n".join((line, *fields, *framing, b"", body))


def table(cases: tuple[Case, ...]) -> pytest.MarkDecorator:
    """Every case on every engine."""
    rows = [pytest.param(case, engine, id=f"{case.name}-{engine}") for case in cases for engine in ENGINES]
    return pytest.mark.parametrize(("case", "engine"), rows)


async def play(case: Case, engine: str) -> None:
    """Run ``case`` on ``engine``, then other callers' probes."""
    origin = Origin(*case.scripts, early=case.early, greeting=case.greeting)
    async with staged(engine, origin, timeouts=case.deadlines) as stage:
        if case.primed:
            await stage.probe()
        body = None if case.body is None else pieces(*case.body)
        result = await outcome(
            stage.engine, request(case.method, b"/case", *case.fields, body=body, content_length=case.content_length)
        )
        if any(Act.GO in script for script in case.scripts):
            origin.go.set()
            await origin.played.wait()
            await turns()
        allowed = {expected: list(expected.problems(result)) for expected in case.expected(engine)}
        matched = next((expected for expected, problems in allowed.items() if not problems), None)
        assert matched is not None, "; ".join(problem for problems in allowed.values() for problem in problems)
        assert case.seen is None or len(origin.cases) == case.seen
        probe = await stage.probe()
        if matched.reused is not None and origin.cases:
            assert (probe.connection == origin.cases[-1].connection) is matched.reused, "connection reuse"
