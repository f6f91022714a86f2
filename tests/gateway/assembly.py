"""The whole gateway in one loop: real sockets, a real mock upstream, the real policy loader, a clock of choice."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.app import create_app
from gateway.clock import SystemClock
from gateway.credentials import Credentials
from gateway.gate import Gate
from gateway.ledger.minutes import Minutes
from gateway.mock_upstream import MockUpstream
from gateway.policy_files import load
from gateway.stores.memory import MemoryStore
from gateway.telemetry import NoSpans
from policies.exchange import Exchange, Outcome
from policies.ports import Clock
from policies.snapshot import Snapshot
from tests.wire.harness import ServerName, raw_exchange, serve_app
from upstreams.http1 import Http1Transport
from upstreams.pool import Transports

DEMO = Path("policies/examples/demo")


class Reloadable:
    """A ``PolicySource`` that a test reloads by hand, by the rules of the real one: a bad set changes nothing."""

    def __init__(self, directory: Path, env: Mapping[str, str]) -> None:
        self.directory = directory
        self._env = env
        self.current: Snapshot = Snapshot(self._policy())

    def _policy(self) -> Any:
        loaded = load(self.directory, env=self._env, secrets_dir=None)
        assert loaded.policy is not None, [str(f) for f in loaded.findings]
        return loaded.policy

    def reload(self) -> None:
        self.current = Snapshot(self._policy())


@dataclass
class Recorder:
    """An outcome sink that keeps everything."""

    seen: list[tuple[Exchange, Outcome]] = field(default_factory=list)

    def record(self, exchange: Exchange, outcome: Outcome) -> None:
        self.seen.append((exchange, outcome))


@dataclass(frozen=True)
class Answer:
    """One response as it came over the wire."""

    status: int
    reason: str
    lines: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.lines if key == name]

    def one(self, name: str) -> str:
        values = self.all(name)
        assert len(values) == 1, f"{name}: {values}"
        return values[0]

    def json(self) -> Any:
        return json.loads(self.body)


def parsed(raw: bytes) -> Answer:
    """The first response in ``raw``; the body is what follows its head, dechunked when it was chunked."""
    head, _, rest = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    _, status, *reason = first.split(" ", 2)
    pairs = [(n.strip().lower(), v.strip()) for n, _, v in (line.partition(":") for line in lines)]
    if ("transfer-encoding", "chunked") in pairs:
        rest = dechunked(rest)
    return Answer(int(status), " ".join(reason), pairs, rest)


def dechunked(raw: bytes) -> bytes:
    body = b""
    while raw:
        size, _, raw = raw.partition(b"\r\n")
        length = int(size.split(b";")[0], 16)
        body, raw = body + raw[:length], raw[length + 2 :]
        if not length:
            break
    return body


@dataclass
class Gateway:
    port: int
    origin: MockUpstream
    source: Reloadable
    store: MemoryStore
    counters: Minutes
    recorder: Recorder
    gate: Gate

    async def call(self, method: str, target: str, *headers: str, body: bytes = b"", key: str | None = None) -> Answer:
        """One call on its own connection."""
        lines = [f"{method} {target} HTTP/1.1", "host: gateway.test", "connection: close", *headers]
        if key is not None:
            lines.append(f"x-api-key: {key}")
        if body:
            lines.append(f"content-length: {len(body)}")
        return parsed(await self.raw("\r\n".join(lines).encode() + b"\r\n\r\n" + body))

    async def raw(self, data: bytes, timeout_s: float = 5.0) -> bytes:
        return await raw_exchange(self.port, data, timeout_s=timeout_s)


@contextlib.asynccontextmanager
async def gateway(
    state_dir: Path,
    *,
    policies: Path = DEMO,
    clock: Clock | None = None,
    server: ServerName = "granian",
    spans: Any = None,
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[Gateway]:
    """The assembled gateway in front of a mock upstream, on a free port."""
    clock = clock or SystemClock()
    async with MockUpstream() as origin:
        source = Reloadable(policies, {"TIERGATE_MOCK_PORT": str(origin.port), **(env or {})})
        store = MemoryStore(clock, state_dir)
        await store.start()
        transports = Transports(Http1Transport)
        counters, recorder = Minutes(clock), Recorder()
        authenticator = Credentials(clock=clock)
        gate = Gate(create_app(
            source=source, store=store, clock=clock, transports=transports, authenticator=authenticator,
            sinks=(recorder, counters), spans=spans or NoSpans(), instance="test",
        ))  # fmt: skip
        try:
            async with serve_app(gate, server) as port:
                yield Gateway(port, origin, source, store, counters, recorder, gate)
        finally:
            await transports.aclose()
            await store.aclose()
            await authenticator.aclose()
