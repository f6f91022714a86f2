"""One answer of an upstream, played through the whole request path without a socket: what would the caller get?

The application is the real one; only the upstream's connection and the limits' store are stand-ins. Decides nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from gateway.app import create_app
from gateway.credentials import Credentials
from gateway.telemetry import NoSpans
from policies.admission import Book, Decision, Demand, Lease
from policies.exchange import Exchange, Outcome
from policies.model import PolicySet, Upstream
from policies.ports import Clock
from policies.snapshot import Snapshot
from upstreams.pool import Borrowed
from upstreams.transport import Headers, Transport, UpstreamRequest, UpstreamResponse


@dataclass(slots=True)
class GivenAnswer:
    """What the upstream is to answer; ``content`` is all of its body."""

    status: int
    headers: Headers
    content: bytes | None

    async def body(self) -> AsyncIterator[bytes]:
        if self.content:
            yield self.content

    async def aclose(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerGets:
    """The answer as it leaves for the server, and what the gateway noted of the call."""

    status: int
    headers: Headers
    body: bytes
    exchange: Exchange


@dataclass(frozen=True, slots=True)
class FixedClock:
    """A clock that stands at ``now_us``, Unix microseconds."""

    now_us: int

    def wall_us(self) -> int:
        return self.now_us

    def steady_us(self) -> int:
        return self.now_us


async def rehearse(policy: PolicySet, answer: GivenAnswer, *, clock: Clock, method: str = "GET") -> CallerGets:
    """What an anonymous caller of ``policy``'s one route gets when its upstream answers ``answer``."""
    noted = _Noted()
    app = create_app(
        source=_Always(Snapshot(policy)),
        store=_NoState(clock),
        clock=clock,
        transports=_Answering(answer),
        authenticator=Credentials(clock=clock),
        sinks=(noted,),
        spans=NoSpans(),
        instance="rehearsal",
    )
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    await app(_scope(method), receive, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return CallerGets(status=sent[0]["status"], headers=sent[0]["headers"], body=body, exchange=noted.exchanges[0])


def _scope(method: str) -> MutableMapping[str, Any]:
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": "/", "raw_path": b"/", "query_string": b"", "headers": [(b"host", b"gateway")],
        "client": ("192.0.2.1", 49_152), "server": ("127.0.0.1", 8080),
    }  # fmt: skip


@dataclass(slots=True)
class _Noted:
    exchanges: list[Exchange] = field(default_factory=list)

    def record(self, exchange: Exchange, outcome: Outcome) -> None:
        self.exchanges.append(exchange)


@dataclass(slots=True)
class _Always:
    current: Snapshot


class _Answering:
    """Every upstream is one that gives ``answer``."""

    def __init__(self, answer: UpstreamResponse) -> None:
        self._answer = answer

    def borrow(self, upstream: Upstream) -> Borrowed:
        return self

    def __enter__(self) -> Transport:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is borrowed."""

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        return self._answer

    async def aclose(self) -> None:
        """Nothing is open."""


class _NoState:
    """An ``AdmissionStore`` that has seen no call before."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def admit(self, account: str, demand: Demand) -> Decision:
        return Book().admit(account, demand, self._clock.steady_us(), self._clock.wall_us())

    async def read(self, account: str, demand: Demand) -> Decision:
        return await self.admit(account, demand)

    def release(self, lease: Lease) -> None:
        """Nothing is kept."""

    def renew(self, lease: Lease) -> None:
        """Nothing is kept."""

    async def aclose(self) -> None:
        """Nothing is open."""
