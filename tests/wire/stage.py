"""The whole gateway on a production server, in front of scripted origins, and what is proved after every case.

``create_app`` with the parts a worker puts together, behind the worker's own gate and server, on the loop of
production, with every sink at work. Its pools have one connection and its tenant one slot, so that either that
leaks is missed by the next call; and after every case ten callers' probes must each bring their own marker.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gateway import http_servers
from gateway.access_log import AccessLog, record_of
from gateway.app import create_app
from gateway.clock import SystemClock
from gateway.compose import ENGINES
from gateway.credentials import Credentials
from gateway.gate import Gate
from gateway.ledger.minutes import Minutes
from gateway.metrics import Metrics
from gateway.policy_files import load
from gateway.stores.memory import MemoryStore
from gateway.telemetry import NoSpans
from policies.exchange import Exchange, Outcome
from policies.sla.outcome import classify
from policies.snapshot import Snapshot
from tests.upstreams.conformance.origin import Origin, turns
from tests.wire.caller import Caller, Hearing, calling, message
from tests.wire.harness import START_TIMEOUT_S, STOP_TIMEOUT_S, ServerName
from upstreams.pool import Transports

Changes = Mapping[str, Mapping[str, Any]]
"""Of upstreams by name: fields that are not what the policy file says."""
KEY = "wire-key"
"""The credential of the tenant that has one slot."""
OTHER_KEY = "other-key"
"""Of a tenant with slots to spare."""
PROBES = 10
NOTHING: Changes = {}
_markers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Fixed:
    """A policy that does not change."""

    current: Snapshot


@dataclass
class Recorder:
    """An outcome sink that keeps everything, and wakes whoever waits for an outcome."""

    seen: list[tuple[Exchange, Outcome]] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def record(self, exchange: Exchange, outcome: Outcome) -> None:
        self.seen.append((exchange, outcome))
        self._news.set()

    def of(self, path: str) -> list[tuple[Exchange, Outcome]]:
        return [pair for pair in self.seen if pair[0].path == path]

    async def until(self, path: str) -> tuple[Exchange, Outcome]:
        """The outcome of the call for ``path``, once it is known."""
        async with asyncio.timeout(5):
            while not (found := self.of(path)):
                self._news.clear()
                await self._news.wait()
        return found[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What became of one call, as the sinks have it. ``word`` is the access log's for it, ``cause`` the SLA's."""

    status: int
    origin: str = "upstream"
    reason: str | None = None
    phase: str | None = None
    source: str | None = None
    truncated_by: str | None = None
    owner: str | None = "third_party"
    upstream_status: int | None = None
    word: str = "allowed"
    sla: tuple[str, str] = ("good", "ok")

    @staticmethod
    def of(exchange: Exchange, outcome: Outcome) -> Ending:
        line = record_of(exchange, outcome, "")
        assert (line["status"], line["origin"], line["error"]) == (outcome.status, outcome.origin, outcome.reason)
        assert line["upstream_status"] == outcome.upstream_status
        assert line.get("truncated_by") == outcome.truncated_by
        return Ending(
            status=outcome.status,
            origin=outcome.origin,
            reason=outcome.reason,
            phase=outcome.phase,
            source=outcome.source,
            truncated_by=outcome.truncated_by,
            owner=outcome.owner,
            upstream_status=outcome.upstream_status,
            word=line["outcome"],
            sla=classify(outcome),
        )


@dataclass
class Stage:
    """``origin`` stands behind ``/``, ``quick`` behind ``/quick``, whose deadlines are short."""

    server: ServerName
    engine: str
    port: int
    nobody: socket.socket
    origin: Origin
    quick: Origin
    recorder: Recorder
    counters: Minutes
    metrics: Metrics
    log_file: Path
    _cases: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def target(self, prefix: str = "") -> str:
        """A path that no other case has."""
        return f"{prefix}/case/{next(self._cases)}"

    @contextlib.asynccontextmanager
    async def calling(self, *, small: bool = False) -> AsyncIterator[Caller]:
        async with calling(self.port, small=small) as caller:
            yield caller

    async def fetch(self, target: str, *fields: str, body: bytes = b"", method: str = "GET", **more: Any) -> Hearing:
        """One call on its own connection."""
        fields = (*fields, f"content-length: {len(body)}") if body else fields
        async with self.calling() as caller:
            await caller.send(message(target, *fields, method=method, key=more.pop("key", KEY), **more) + body)
            return await caller.hear(method).end()

    async def ending(self, path: str) -> Ending:
        return Ending.of(*await self.recorder.until(path))

    async def proved(self, *paths: str, quick: bool = False, outcomes: int = 1) -> None:
        """Each of ``paths`` has as many outcomes as it should; then ten probes through the same pool."""
        prefix, origin = ("/quick", self.quick) if quick else ("", self.origin)
        await self.probes(prefix)
        await turns()
        async with asyncio.timeout(2):
            await origin.until_open(1)
        for path in paths:
            assert len(self.recorder.of(path)) == outcomes, path

    async def probes(self, prefix: str = "", count: int = PROBES) -> None:
        """Callers in sequence, on one connection, each with its own answer and nothing behind it."""
        async with self.calling() as caller:
            for _ in range(count):
                marker = f"caller-{next(_markers)}"
                await caller.send(message(f"{prefix}/probe", f"x-marker: {marker}", key=KEY))
                heard = await caller.hear().end()
                assert (heard.status, bytes(heard.body)) == (200, marker.encode()), heard.fault
                assert heard.complete
                assert heard.left == b""

    async def settled(self) -> list[dict[str, Any]]:
        """The access log's lines, once there are as many as outcomes."""
        async with asyncio.timeout(5):
            while len(lines := self.log_file.read_bytes().splitlines()) < len(self.recorder.seen):
                await asyncio.sleep(0.02)
        return [json.loads(line) for line in lines]

    async def agreed(self) -> None:
        """Every sink has every call exactly once, and says the same of it (RULINGS 30)."""
        lines = await self.settled()
        said = {line["request_id"]: line for line in lines}
        seen = self.recorder.seen
        assert len(said) == len(lines) == len(seen)
        for exchange, outcome in seen:
            line = json.loads(json.dumps({**record_of(exchange, outcome, ""), "ts": said[exchange.request_id]["ts"]}))
            assert said[exchange.request_id] == line
        assert self._measured() == Counter(str(outcome.status) for _, outcome in seen)
        counted = Counter((*classify(outcome),) for _, outcome in seen)
        cells = Counter[tuple[str, str]]()
        for (_, _, verdict, cause), count in self.counters.totals().items():
            cells[verdict, cause] += count
        assert cells == counted

    def _measured(self) -> Counter[str]:
        """How many calls the duration metric has, by status."""
        measured = Counter[str]()
        for name, labels, counts, *_ in self.metrics.snapshot()["histograms"]:
            if name == "http_server_request_duration_seconds":
                measured[labels[-1]] += sum(counts)
        return measured


def policy(engine: str, ports: dict[str, int], tenants: Sequence[str]) -> str:
    """``origin`` is patient, and third-party; ``quick`` is not, and ours; what is dead is a customer's."""

    def upstream(name: str, url: str, owner: str, deadline: str, *, crowded: bool = False) -> str:
        times = f"connect: {deadline}, write: {deadline}, first_byte: {deadline}, idle: {deadline}, total: 20s"
        return (
            f"  {name}: {{url: '{url}', engine: {engine}, owner: {owner}, timeouts: {{{times}}},"
            f" pool: {{connections: {20 if crowded else 1}, wait: {'8s' if crowded else '300ms'}}}}}"
        )

    routes = ["everything: {match: {path: '/{rest:path}'}, upstream: origin}"]
    upstreams = [upstream("origin", f"http://127.0.0.1:{ports['origin']}", "third_party", "8s")]
    others = {
        "quick": (f"http://127.0.0.1:{ports['quick']}", "managed", "300ms"),
        "crowd": (f"http://127.0.0.1:{ports['origin']}", "managed", "8s"),
        "nowhere": ("http://nowhere.invalid", "customer", "8s"),
        "refusing": (f"http://localhost:{ports['refusing']}", "customer", "8s"),
        "metadata": ("http://metadata.invalid", "customer", "8s"),
        "own": (f"http://127.0.0.1:{ports['own']}", "managed", "8s"),
        "plain": (f"https://127.0.0.1:{ports['plain']}", "customer", "8s"),
        "mute": (f"https://127.0.0.1:{ports['origin']}", "customer", "100ms"),
    }
    for name, (url, owner, deadline) in others.items():
        upstreams.append(upstream(name, url, owner, deadline, crowded=name == "crowd"))
        routes.append(f"{name}: {{match: {{path: '/{name}/{{rest:path}}'}}, upstream: {name}, strip: /{name}}}")
    named = [f"  {name}: {{tier: crowd, keys: [{{id: k, sha256: {_digest(name)}}}]}}" for name in tenants]
    return "\n".join(
        [
            "version: 1",
            "auth: {keys: {headers: [x-api-key]}}",
            "tiers:",
            "  single: {limits: {minute: 1_000_000/min, parallel: {concurrent: 1}}}",
            "  crowd: {limits: {minute: 1_000_000/min, parallel: {concurrent: 100}}}",
            "upstreams:",
            *upstreams,
            "routes:",
            *(f"  {route}" for route in routes),
            "tenants:",
            f"  other: {{tier: crowd, keys: [{{id: k, sha256: {_digest(OTHER_KEY)}}}]}}",
            f"  solo: {{tier: single, keys: [{{id: k, sha256: {_digest(KEY)}}}]}}",
            *named,
        ]
    )


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


@contextlib.asynccontextmanager
async def served(app: Any, server: ServerName, listener: socket.socket) -> AsyncIterator[None]:
    """``app`` as a worker serves it."""
    gate = Gate(app)
    running = http_servers.make(server, gate, listener)
    serving = asyncio.create_task(running.run())
    try:
        started = asyncio.create_task(gate.started.wait())
        await asyncio.wait((serving, started), timeout=START_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        started.cancel()
        assert gate.started.is_set(), "the server did not start"
        yield
    finally:
        running.stop()
        await asyncio.wait_for(serving, STOP_TIMEOUT_S)


@contextlib.asynccontextmanager
async def _plain() -> AsyncIterator[int]:
    """The port of a server that speaks no TLS, and says so in HTTP as servers do."""

    async def answered(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answered, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


@contextlib.asynccontextmanager
async def _nobody() -> AsyncIterator[socket.socket]:
    """A socket that has a port and does not listen at it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken


def _loaded(directory: Path, text: str, changes: Changes) -> Snapshot:
    directory.mkdir()
    (directory / "wire.yaml").write_text(text)
    loaded = load(directory, env={}, secrets_dir=None)
    assert loaded.policy is not None, [str(finding) for finding in loaded.findings]
    upstreams = {name: replace(each, **changes.get(name, {})) for name, each in loaded.policy.upstreams.items()}
    return Snapshot(replace(loaded.policy, upstreams=upstreams))


@contextlib.asynccontextmanager
async def staged(
    home: Path, server: ServerName, engine: str = "http1", *, tenants: Sequence[str] = (), changes: Changes = NOTHING
) -> AsyncIterator[Stage]:
    """The gateway at work, with one more tenant for each of ``tenants``."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=http_servers.BACKLOG)
    port: int = listener.getsockname()[1]
    clock = SystemClock()
    async with Origin().serving() as origin, Origin().serving() as quick, _plain() as plain, _nobody() as nobody:
        ports = {"origin": origin.port, "quick": quick.port, "own": port, "plain": plain}
        ports["refusing"] = nobody.getsockname()[1]
        snapshot = _loaded(home / "policies", policy(engine, ports, tenants), changes)
        store = MemoryStore(clock, home / "state")
        await store.start()
        listeners = frozenset((("127.0.0.1", port),))
        transports = Transports(lambda upstream: ENGINES[upstream.engine](upstream, listeners=listeners))
        recorder, counters, metrics = Recorder(), Minutes(clock), Metrics()
        access_log = AccessLog(str(home / "access.log"))
        credentials = Credentials(clock=clock)
        app = create_app(
            source=Fixed(snapshot), store=store, clock=clock, transports=transports,
            authenticator=credentials, sinks=(counters, metrics, access_log, recorder), spans=NoSpans(),
            instance="wire",
        )  # fmt: skip
        try:
            async with served(app, server, listener):
                yield Stage(
                    server, engine, port, nobody, origin, quick, recorder, counters, metrics, home / "access.log"
                )
        finally:
            await transports.aclose()
            await store.aclose()
            await credentials.aclose()
            access_log.close()
