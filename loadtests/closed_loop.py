"""A closed-loop client: a fixed number of keep-alive connections, each with one request under way.

    python -m loadtests.closed_loop --port 8080 [--key bench-key] [--connections 50] [--calls 5000 | --seconds 5]

Prints one JSON line with the fields of ``measure.Load`` and ``statuses``. With ``--calls`` exactly so many requests
are sent and every answer is waited for, so that counts elsewhere can be compared with it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from loadtests.measure import percentile

END_OF_HEAD = b"\r\n\r\n"


class Tally:
    """What all connections have seen; ``left`` is how many requests may still begin."""

    def __init__(self, left: int, until: float, done: asyncio.Future[None]) -> None:
        self.left = left
        self.until = until
        self.statuses: Counter[int] = Counter()
        self.latencies_us: list[int] = []
        self.failed = 0
        self.open = 0
        self.done = done

    def may_begin(self) -> bool:
        if self.left <= 0 or time.perf_counter() >= self.until:
            return False
        self.left -= 1
        return True

    def closed(self) -> None:
        self.open -= 1
        if not self.open and not self.done.done():
            self.done.set_result(None)


class Connection(asyncio.Protocol):
    """One connection. Understands answers framed by ``Content-Length``, the only ones a benchmark's upstream gives."""

    def __init__(self, request: bytes, tally: Tally) -> None:
        self._request = request
        self._tally = tally
        self._buffer = b""
        self._began = 0.0
        self._waiting = False
        self._write: Callable[[bytes], None]
        self._close: Callable[[], None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream: Any = transport
        self._write, self._close = stream.write, stream.close
        self._tally.open += 1
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._tally.failed += self._waiting
        self._tally.closed()

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
        self._next()

    def _next(self) -> None:
        if not self._tally.may_begin():
            self._close()
            return
        self._began, self._waiting = time.perf_counter(), True
        self._write(self._request)


def request(key: str) -> bytes:
    return f"GET /bench HTTP/1.1\r\nhost: 127.0.0.1\r\nx-api-key: {key}\r\n\r\n".encode()


async def drive(port: int, key: str, *, connections: int, calls: int, seconds: float) -> dict[str, Any]:
    """Run until ``calls`` requests have been answered or ``seconds`` are over."""
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    tally = Tally(calls, started + seconds, loop.create_future())
    tally.open += 1  # held until all are connected, so that an early end does not finish the run
    for _ in range(connections):
        await loop.create_connection(lambda: Connection(request(key), tally), "127.0.0.1", port)
    tally.closed()
    await asyncio.wait((tally.done,), timeout=seconds + 10)
    elapsed = time.perf_counter() - started
    ordered = sorted(tally.latencies_us)
    return {
        "requests": len(ordered),
        "duration_us": round(elapsed * 1_000_000),
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
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--calls", type=int, default=sys.maxsize, help="how many requests; default: as time allows")
    parser.add_argument("--seconds", type=float, default=60.0)
    chosen = parser.parse_args()
    found = asyncio.run(
        drive(chosen.port, chosen.key, connections=chosen.connections, calls=chosen.calls, seconds=chosen.seconds)
    )
    print(json.dumps(found), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
