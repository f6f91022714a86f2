"""A closed-loop client: a fixed number of keep-alive connections, each with one request under way.

    python -m loadtests.closed_loop --port 8080 [--key bench-key | --tenants 100] [--connections 50]
        [--calls 5000 | --seconds 5] [--hold]

Prints one JSON line with the fields of ``measure.Load`` and ``statuses``. All connections are made before the first
request. With ``--calls`` exactly so many requests are sent and every answer is waited for, so that counts elsewhere
can be compared with it; with ``--tenants`` they carry the keys key-1, key-2 and so on in turn, else one at random.
``--hold`` is for programs: it says ``connected``, begins at a line on standard input, and keeps the connections until
that ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import uvloop

from loadtests.measure import percentile

END_OF_HEAD = b"\r\n\r\n"


class Tally:
    """What all connections have seen; ``left`` is how many requests may still begin."""

    def __init__(self, requests: Sequence[bytes], calls: int | None) -> None:
        self._requests = requests
        self._in_turn = calls is not None
        self.left = sys.maxsize if calls is None else calls
        self.until = 0.0
        self.statuses: Counter[int] = Counter()
        self.latencies_us: list[int] = []
        self.failed = 0
        self.connections: list[Connection] = []
        self.active = 0
        self.done = asyncio.get_running_loop().create_future()

    def start(self, seconds: float) -> None:
        """Let every connection begin."""
        self.until = time.perf_counter() + seconds
        self.active = len(self.connections)
        for connection in self.connections:
            connection.next()

    def begin(self) -> bytes | None:
        """The next request; None at the end."""
        if self.left <= 0 or time.perf_counter() >= self.until:
            return None
        self.left -= 1
        if len(self._requests) == 1:
            return self._requests[0]
        return self._requests[self.left % len(self._requests)] if self._in_turn else random.choice(self._requests)

    def ended(self) -> None:
        self.active -= 1
        if not self.active and not self.done.done():
            self.done.set_result(None)


class Connection(asyncio.Protocol):
    """One connection. Understands answers framed by ``Content-Length``, the only ones a benchmark's upstream gives."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._buffer = b""
        self._began = 0.0
        self._waiting = False
        self._lost = False
        self._write: Callable[[bytes], None]
        self.close: Callable[[], None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream: Any = transport
        self._write, self.close = stream.write, stream.close
        self._tally.connections.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        if self._waiting:
            self._tally.failed += 1
            self._tally.ended()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(END_OF_HEAD)
        if end < 0:
            return
        head = self._buffer[:end].lower()
        length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if len(self._buffer) < end + len(END_OF_HEAD) + int(length or b"0"):
            return
        self._buffer, self._waiting = b"", False
        self._tally.latencies_us.append(round((time.perf_counter() - self._began) * 1_000_000))
        self._tally.statuses[int(head[9:12])] += 1
        self.next()

    def next(self) -> None:
        request = None if self._lost else self._tally.begin()
        if request is None:
            self._tally.ended()
            return
        self._began, self._waiting = time.perf_counter(), True
        self._write(request)


def request(key: str) -> bytes:
    return f"GET /bench HTTP/1.1\r\nhost: 127.0.0.1\r\nx-api-key: {key}\r\n\r\n".encode()


def tenant_key(number: int) -> str:
    """The key of tenant ``number``, from 1."""
    return f"key-{number}"


async def drive(chosen: argparse.Namespace) -> None:
    """Connect, run until ``--calls`` requests have been answered or ``--seconds`` are over, print what was seen."""
    loop = asyncio.get_running_loop()
    keys = [tenant_key(number + 1) for number in range(chosen.tenants)] or [chosen.key]
    tally = Tally([request(key) for key in keys], chosen.calls)
    for _ in range(chosen.connections):
        await loop.create_connection(lambda: Connection(tally), "127.0.0.1", chosen.port)
    if chosen.hold:
        print("connected", flush=True)
        await loop.run_in_executor(None, sys.stdin.readline)
    started = time.perf_counter()
    tally.start(chosen.seconds)
    await asyncio.wait((tally.done,), timeout=chosen.seconds + 10)
    print(json.dumps(seen(tally, time.perf_counter() - started)), flush=True)
    if chosen.hold:
        await loop.run_in_executor(None, sys.stdin.read)
    for connection in tally.connections:
        connection.close()


def seen(tally: Tally, elapsed_s: float) -> dict[str, Any]:
    """What is printed."""
    ordered = sorted(tally.latencies_us)
    return {
        "requests": len(ordered),
        "duration_us": round(elapsed_s * 1_000_000),
        "p50_us": percentile(ordered, 50),
        "p99_us": percentile(ordered, 99),
        "failed": tally.failed,
        "not_2xx": sum(count for status, count in tally.statuses.items() if status // 100 != 2),
        "statuses": dict(sorted(tally.statuses.items())),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--key", default="bench-key")
    parser.add_argument("--tenants", type=int, default=0, help="use the keys key-1 to key-N instead of --key")
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--calls", type=int, help="how many requests; default: as time allows")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--hold", action="store_true", help="begin and end as standard input says")
    uvloop.run(drive(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
