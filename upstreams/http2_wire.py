"""The octets of one HTTP/2 connection, read and written by two tasks that belong to no caller.

A caller that is cancelled in the middle of a write would leave part of a TLS record behind, and everybody else with a
broken connection; so nobody writes for himself. What the octets mean is ``http2_connection``'s.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import httpcore2

READ_SIZE = 65_536
FAREWELL_S = 0.1


class Octets:
    """``stream`` both ways. ``received`` is called with what came, ``b""`` at the end; ``sent`` when all has left;
    ``failed`` once, with whatever the network raised. ``write_s`` bounds the wait for the other side to read.
    """

    def __init__(
        self,
        stream: httpcore2.AsyncNetworkStream,
        write_s: float,
        *,
        received: Callable[[bytes], None],
        sent: Callable[[], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._stream = stream
        self._write_s = write_s
        self._received = received
        self._sent = sent
        self._failed = failed
        self._waiting = bytearray()
        self._more = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._reader = loop.create_task(self._read())
        self._writer = loop.create_task(self._write())
        self._closing: asyncio.Task[None] | None = None

    @property
    def unsent(self) -> int:
        """Octets that wait to be written."""
        return len(self._waiting)

    def put(self, data: bytes) -> None:
        """Have ``data`` written as soon as that is possible."""
        if data:
            self._waiting += data
            self._more.set()

    def end(self, farewell: bytes) -> None:
        """Write ``farewell`` if that is possible at once, and close."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close(farewell))

    async def ended(self) -> None:
        """Wait until everything is closed; ``end`` was called."""
        if self._closing is not None:
            await asyncio.wait((self._closing,))

    async def _read(self) -> None:
        try:
            data = b"-"
            while data:
                data = await self._stream.read(READ_SIZE)
                self._received(data)
        except Exception as error:  # whatever the network raises ends the connection
            self._failed(error)

    async def _write(self) -> None:
        try:
            while True:
                await self._more.wait()
                self._more.clear()
                data, self._waiting = bytes(self._waiting), bytearray()
                await self._stream.write(data, self._write_s)
                if not self._waiting:
                    self._sent()
        except Exception as error:  # whatever the network raises ends the connection
            self._failed(error)

    async def _close(self, farewell: bytes) -> None:
        self._writer.cancel()
        await asyncio.wait((self._writer,))
        with contextlib.suppress(Exception):
            await self._stream.write(bytes(self._waiting) + farewell, FAREWELL_S)
        self._reader.cancel()
        await asyncio.wait((self._reader,))
        with contextlib.suppress(Exception):
            await self._stream.aclose()
