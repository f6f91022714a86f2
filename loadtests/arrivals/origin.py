"""The origin behind the gateway under test: it notes when each call arrived and when it let it go.

``/any/NUMBER`` is answered at once, ``/any/NUMBER?hold=MS`` after so many milliseconds. It runs in the process of the
client, so that both read one clock: a call was admitted before it arrived here, and had its slot until it was let go.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

ANSWER = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{"ok":true}'


def now_us() -> int:
    return time.monotonic_ns() // 1_000


@dataclass(slots=True)
class Visits:
    """By call number: when it arrived, when its answer was about to be written; ``twice`` arrived again."""

    arrived_us: dict[int, int] = field(default_factory=dict)
    let_go_us: dict[int, int] = field(default_factory=dict)
    twice: list[int] = field(default_factory=list)

    def arrive(self, number: int) -> None:
        if number in self.arrived_us:
            self.twice.append(number)
        self.arrived_us.setdefault(number, now_us())


class Visitor(asyncio.Protocol):
    """One connection of the gateway."""

    def __init__(self, visits: Visits) -> None:
        self._visits = visits
        self._buffer = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            path, _, query = head.split(b" ", 2)[1].partition(b"?")
            tail = path.rpartition(b"/")[2]
            number = int(tail) if tail.isdigit() else -1
            if number >= 0:
                self._visits.arrive(number)
            hold = query.partition(b"hold=")[2]
            if hold:
                asyncio.get_running_loop().call_later(int(hold) / 1_000, self._answer, number)
            else:
                self._answer(number)

    def _answer(self, number: int) -> None:
        self._visits.let_go_us[number] = now_us()
        if not self._transport.is_closing():
            self._transport.write(ANSWER)


async def serve(visits: Visits, port: int) -> asyncio.Server:
    """Listen on 127.0.0.1. Raises ``OSError`` when the port is taken."""
    return await asyncio.get_running_loop().create_server(lambda: Visitor(visits), "127.0.0.1", port)
