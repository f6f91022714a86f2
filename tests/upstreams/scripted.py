"""The inner layers with a scripted upstream and no socket: what a caller gets for one answer, and what it cost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from middleware.admission import Admission
from middleware.problems import Problems
from policies.admission import Book, Decision, Demand
from policies.exchange import SCOPE_KEY, Exchange
from policies.model import Limit, PolicySet, Route, Tenant, Tier, Upstream, Window
from policies.plan import Plan, compile_plan
from tests.middleware.harness import Recorded, VirtualClock
from upstreams.forward import Forwarder
from upstreams.pool import Transports
from upstreams.transport import Headers, TransportError, UpstreamRequest

MINUTE = Window(name="minute", amount=60, period_us=60_000_000)
CRM = Upstream(name="crm", scheme="http", host="u.test", port=80, base_path="", vendor="u")
NEVER = None
"""A chunk that does not come."""
CUT = TransportError("upstream-protocol", proxy_error="http_response_incomplete", phase="upstream_body", sent=True)
Piece = bytes | TransportError | None


@dataclass
class Answer:
    """One answer: whole at once (``body``), or in ``pieces`` that come one by one."""

    status: int = 200
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    pieces: tuple[Piece, ...] | None = None
    closed: bool = False
    taken: int = 0

    @property
    def content(self) -> bytes | None:
        return self.body if self.pieces is None else None

    def body_of(self) -> tuple[Piece, ...]:
        return (self.body,) if self.pieces is None else self.pieces

    async def _body(self) -> AsyncIterator[bytes]:
        for piece in self.body_of():
            if piece is None:
                await asyncio.Event().wait()
            elif isinstance(piece, TransportError):
                raise piece
            else:
                self.taken += len(piece)
                yield piece

    async def aclose(self) -> None:
        self.closed = True


class Reply:
    """``Answer`` as ``UpstreamResponse``."""

    def __init__(self, answer: Answer) -> None:
        self.status, self.headers, self.content = answer.status, list(answer.headers), answer.content
        self.body, self.aclose = answer._body, answer.aclose


@dataclass
class Scripted:
    """A ``Transport`` that gives ``answers`` in turn, the last one again and again."""

    answers: list[Answer]
    requests: list[UpstreamRequest] = field(default_factory=list)

    async def send(self, request: UpstreamRequest) -> Any:
        self.requests.append(request)
        return Reply(self.answers[min(len(self.requests), len(self.answers)) - 1])

    async def aclose(self) -> None:
        return None


class Store:
    """Admission by the reference book, at one moment."""

    def __init__(self) -> None:
        self._book = Book()

    async def admit(self, account: str, demand: Demand) -> Decision:
        return self._book.admit(account, demand, 0, 1_790_000_000_000_000)


class Bench:
    """``upstream`` answers as scripted. ``call`` is one request of a caller; ``exchange`` the last one's.

    ``head_sent`` is set once any caller has the head of an answer.
    """

    def __init__(
        self,
        *answers: Answer,
        upstream: Upstream = CRM,
        limits: tuple[Limit, ...] = (MINUTE,),
        headers: Any = (),
        clock: VirtualClock | None = None,
    ) -> None:
        self.clock = clock or VirtualClock()
        self.transport = Scripted(list(answers))
        self.upstream = upstream
        self._limits = limits
        self._headers = tuple(headers)
        forwarder = Forwarder(Transports(lambda _: self.transport), clock=self.clock, instance="test")
        self._app = Problems(Admission(forwarder, store=Store(), clock=self.clock))  # type: ignore[arg-type]
        self.exchange: Exchange | None = None
        self.head_sent = asyncio.Event()

    def plan(self) -> Plan:
        policy = PolicySet(
            version="v",
            tiers={"t": Tier(name="t", limits=self._limits)},
            upstreams={"crm": self.upstream},
            routes={"r": Route(name="r", path="/{x:path}", methods=None, upstream="crm", group="r")},
        )
        tenant = Tenant(id="a", tier="t", upstream_headers={"crm": self._headers})
        return compile_plan(policy, tenant, policy.routes["r"])

    async def call(self, *fields: tuple[bytes, bytes], method: str = "GET") -> Recorded:
        exchange = self.exchange = Exchange(self.clock.steady_us(), self.clock.wall_us(), "req-1")
        exchange.method, exchange.path, exchange.target, exchange.account = method, "/a", b"/a", "a"
        exchange.plan = self.plan()
        recorded = Recorded()

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                exchange.head_sent = True
                self.head_sent.set()
            await recorded.send(message)

        scope = {
            "type": "http", "method": method, "http_version": "1.1", "scheme": "http", SCOPE_KEY: exchange,
            "headers": [(b"host", b"gateway.test"), *fields],
        }  # fmt: skip
        await self._app(scope, _nothing_more, send)
        return recorded

    @property
    def sent(self) -> int:
        return len(self.transport.requests)


async def _nothing_more() -> Any:
    await asyncio.Event().wait()
