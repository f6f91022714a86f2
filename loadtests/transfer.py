"""Large bodies over blocking sockets: an origin that sends and takes them, a client that asks for them and sends them.

    python -m loadtests.transfer --port 9001 [--size 10000000]          the origin, until it is ended

``GET /body`` is answered with ``size`` octets, ``POST /body`` when its whole body has been read, everything else with
a short text. A thread each connection and system calls of megabytes: nearly no CPU of its own, so that what lies
between the two is what is measured.
"""

from __future__ import annotations

import argparse
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from loadtests.stage import KEY

HOST = "127.0.0.1"
SIZE = 10_000_000
PART = 1 << 18
HEAD_MOST = 1 << 16
CALL_S = 60.0
SHORT = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 3\r\n\r\nok\n"
DOWN, UP = "down", "up"
DIRECTIONS = (DOWN, UP)


class Broken(Exception):
    """The other side ended, or said what is no HTTP/1.1 message with a Content-Length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What a client came to: bodies that passed whole, octets of those, and calls that failed otherwise."""

    bodies: int
    octets: int
    duration_us: int
    failed: int

    @property
    def mb_per_s(self) -> float:
        return self.octets / max(self.duration_us, 1)


class Stream:
    """One connection, read by message head and body."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._part = bytearray(PART)
        self._left = b""

    def head(self) -> bytes:
        """The next head in lower case, without its empty line. Raises ``Broken``; ``b""`` when none comes."""
        held = self._left
        while b"\r\n\r\n" not in held:
            read = self._connection.recv(PART)
            if not read and not held:
                return b""
            if not read or len(held) > HEAD_MOST:
                raise Broken(f"no head: {held[:80]!r}")
            held += read
        head, _, self._left = held.partition(b"\r\n\r\n")
        return head.lower()

    def discard(self, length: int) -> None:
        """Read a body of ``length`` octets. Raises ``Broken``."""
        left = length - len(self._left)
        if left < 0:
            raise Broken("more than the body")
        self._left = b""
        view = memoryview(self._part)
        while left:
            read = self._connection.recv_into(view[: min(left, PART)])
            if not read:
                raise Broken(f"{left} octets of the body are missing")
            left -= read


def length_of(head: bytes) -> int:
    """The Content-Length. Raises ``Broken``."""
    value = head.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]
    if not value.isdigit():
        raise Broken(f"no length: {head[:200]!r}")
    return int(value)


def serve(port: int, size: int) -> None:
    """The origin; never returns."""
    answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: %d\r\n\r\n" % size
    answer += bytes(size)
    with socket.create_server((HOST, port), backlog=1024) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_attend, args=(connection, answer), daemon=True).start()


def _attend(connection: socket.socket, answer: bytes) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream = Stream(connection)
    try:
        with connection:
            while head := stream.head():
                if head.startswith(b"post "):
                    stream.discard(length_of(head))
                connection.sendall(answer if head.startswith(b"get /body ") else SHORT)
    except (OSError, Broken):
        return


def move(port: int, direction: str, size: int, connections: int, seconds: float) -> Moved:
    """Bodies of ``size`` one after the other on each of ``connections``; none begins after ``seconds``."""
    started = time.perf_counter()
    with ThreadPoolExecutor(connections) as pool:
        until = started + seconds
        parts = [pool.submit(_client, port, direction, size, until) for _ in range(connections)]
        counts = [part.result() for part in parts]
    bodies = sum(bodies for bodies, _ in counts)
    elapsed_us = round((time.perf_counter() - started) * 1_000_000)
    failed = sum(failed for _, failed in counts)
    return Moved(bodies=bodies, octets=bodies * size, duration_us=elapsed_us, failed=failed)


def _client(port: int, direction: str, size: int, until: float) -> tuple[int, int]:
    """Bodies that passed, calls that failed: at most one, because a client ends with it."""
    bodies = 0
    try:
        for _ in _calls(port, direction, size):
            bodies += 1
            if time.perf_counter() >= until:
                break
    except (OSError, Broken):
        return bodies, 1
    return bodies, 0


def _calls(port: int, direction: str, size: int) -> Iterator[None]:
    """One call after the other on one connection, for ever. Raises ``OSError`` and ``Broken``."""
    fields = f"host: {HOST}\r\nx-api-key: {KEY}\r\n"
    asked = f"GET /body HTTP/1.1\r\n{fields}\r\n".encode()
    if direction == UP:
        asked = f"POST /body HTTP/1.1\r\n{fields}content-length: {size}\r\n\r\n".encode() + bytes(size)
    with socket.create_connection((HOST, port), timeout=CALL_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = Stream(connection)
        while True:
            connection.sendall(asked)
            head = stream.head()
            length = length_of(head)
            stream.discard(length)
            if not head.startswith(b"http/1.1 200") or (direction == DOWN and length != size):
                raise Broken(f"answered {head[:40]!r} with {length} octets")
            yield


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--size", type=int, default=SIZE, help="octets of an answer")
    chosen = parser.parse_args(given)
    serve(chosen.port, chosen.size)
    return 0


if __name__ == "__main__":
    sys.exit(main())
