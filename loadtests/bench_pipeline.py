"""CPU microseconds of the pipeline alone, admitted and refused: the whole application without a server or a socket.

    python -m loadtests.bench_pipeline [--calls 15000] [--rounds 5] [--profile [N]]

The policy is that of ``loadtests/policies/bench`` with the comparison's refused tenant; the access log goes to a
file, 1 % of requests become spans that are discarded, and the upstream answers at once from memory. ``--profile``
prints the functions with the most own time instead. Steady enough to see a few per cent; the figure that counts is
that of ``loadtests.compare``.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import pstats
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop
import yaml

from gateway.access_log import AccessLog
from gateway.app import create_app
from gateway.batched import Batched
from gateway.clock import SystemClock
from gateway.credentials import Credentials
from gateway.ledger.minutes import Minutes
from gateway.metrics import Metrics
from gateway.policy_files import load
from gateway.settings import traces_environment
from gateway.stores.memory import MemoryStore
from gateway.telemetry import spans_from_environment
from loadtests.bare import BODY
from loadtests.peers.peer import Place
from loadtests.peers.tiergate import BENCH, REFUSED_KEY, moved
from policies.snapshot import Snapshot
from upstreams.pool import Transports
from upstreams.transport import Headers, UpstreamRequest

KEYS = {"admitted": "bench-key", "refused": REFUSED_KEY}
STATUSES = {"admitted": 200, "refused": 429}


@dataclass(slots=True)
class Ready:
    """An answer that is there before it is asked for."""

    status: int
    headers: Headers
    content: bytes | None

    async def body(self) -> AsyncIterator[bytes]:
        yield self.content or b""

    async def aclose(self) -> None:
        return None


class Memory:
    """A ``Transport`` without a network."""

    async def send(self, request: UpstreamRequest) -> Ready:
        length = b"%d" % len(BODY)
        return Ready(200, [(b"content-type", b"application/json"), (b"content-length", length)], BODY.encode())

    async def aclose(self) -> None:
        return None


class Fixed:
    """A ``PolicySource`` that never changes."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.current = snapshot


def policy(folder: Path) -> Snapshot:
    """The benchmark's policy with the refused tenant."""
    place = Place(folder=folder, port=8080, admin=9900, upstream=9001, ca=None)
    directory = folder / "policies"
    directory.mkdir()
    text = yaml.safe_dump(moved(yaml.safe_load((BENCH / "bench.yaml").read_text()), place))
    (directory / "bench.yaml").write_text(text)
    loaded = load(directory, env={}, secrets_dir=None)
    assert loaded.policy is not None, loaded.findings
    return Snapshot(loaded.policy)


def scope(key: str) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/bench",
        "raw_path": b"/bench",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"127.0.0.1:8080"), (b"x-api-key", key.encode())],
        "client": ("127.0.0.1", 40_000),
        "server": ("127.0.0.1", 8080),
        "extensions": {},
        "state": {},
    }


async def receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def calls(app: Any, key: str, count: int) -> dict[int, int]:
    """``count`` calls, one after the other; how many answers of each status."""
    statuses: dict[int, int] = {}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses[message["status"]] = statuses.get(message["status"], 0) + 1

    for _ in range(count):
        await app(scope(key), receive, send)
    return statuses


def thread_us() -> float:
    return time.thread_time_ns() / 1_000


async def measure(chosen: argparse.Namespace, folder: Path) -> None:
    clock = SystemClock()
    store = MemoryStore(clock, folder)
    await store.start()
    source = Fixed(policy(folder))
    spans = spans_from_environment(clock, traces_environment({}, source.current.policy.server.traces))
    log = AccessLog(str(folder / "access.log"))
    app = create_app(
        source=source,
        store=store,
        clock=clock,
        transports=Transports(lambda upstream: Memory()),
        authenticator=Credentials(clock=clock),
        sinks=(Batched((Minutes(clock), Metrics(), log)),),
        spans=spans,
        instance="bench",
    )
    try:
        for name, key in KEYS.items():
            await calls(app, key, 1)  # the first call uses the refused tenant's limit up
            statuses = await calls(app, key, 50)
            assert statuses == {STATUSES[name]: 50}, statuses
        gc.collect()
        gc.freeze()  # as the worker does
        await (profile(app, chosen) if chosen.profile is not None else rounds(app, chosen))
    finally:
        log.close()
        spans.close()
        await store.aclose()


async def rounds(app: Any, chosen: argparse.Namespace) -> None:
    for number in range(chosen.rounds):
        found = []
        for name, key in KEYS.items():
            before = thread_us()
            statuses = await calls(app, key, chosen.calls)
            found.append(f"{name} {(thread_us() - before) / chosen.calls:.1f} us")
            assert statuses == {STATUSES[name]: chosen.calls}, statuses
            await asyncio.sleep(0.3)  # the access log's thread writes what is buffered
        print(f"round {number + 1}: {', '.join(found)}", flush=True)


async def profile(app: Any, chosen: argparse.Namespace) -> None:
    for name, key in KEYS.items():
        profiler = cProfile.Profile()
        profiler.enable()
        await calls(app, key, chosen.calls)
        profiler.disable()
        print(f"== {name}, {chosen.calls} calls; tottime is own time, a function call costs extra here")
        stats = pstats.Stats(profiler)
        stats.strip_dirs().sort_stats("tottime").print_stats(chosen.profile)


def main(run: Callable[..., Any] = uvloop.run) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--calls", type=int, default=15_000, help="of one kind in a round; at most 19,000")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--profile", type=int, nargs="?", const=25, metavar="N", help="the N functions of most own time"
    )
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(measure(chosen, Path(folder)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
