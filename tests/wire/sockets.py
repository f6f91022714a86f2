"""What the WebSocket tests share: a scripted raw-socket upstream, and the whole gateway in front of it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from tests.gateway.assembly import Gateway, gateway
from tests.wire.harness import ServerName

KEY = "tg-test-0123456789"
DEADLINE_S = 10.0
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def policy(*, slots: int = 10, limits: dict[str, Any] | None = None, **upstream: Any) -> dict[str, Any]:
    """One tenant on one route; ``upstream`` adds to the upstream's definition."""
    return {
        "tiers": {"t": {"limits": limits or {"minute": "600/min", "parallel": {"concurrent": slots}}}},
        "tenants": {"acme": {"tier": "t", "keys": [{"id": "k1", "sha256": hashlib.sha256(KEY.encode()).hexdigest()}]}},
        "upstreams": {"origin": {"url": "http://127.0.0.1:${ORIGIN_PORT}", **upstream}},
        "routes": {
            "socket": {"match": {"path": "/ws/{rest:path}"}, "upstream": "origin"},
            "post": {"match": {"path": "/post", "methods": ["POST"]}, "upstream": "origin"},
            "page": {
                "match": {"path": "/page"}, "upstream": "origin", "cors": {"origins": ["https://app.example.com"]},
            },
        },
    }  # fmt: skip


def digest(key: bytes) -> bytes:
    return base64.b64encode(hashlib.sha1(key + GUID).digest())


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, bits: int = 0, masked: bool = False) -> bytes:
    """One frame of a server, unmasked unless it is to be wrong."""
    size = len(payload)
    head = bytes([(0x80 if fin else 0) | bits | opcode])
    mask = 0x80 if masked else 0
    if size < 126:
        head += bytes([mask | size])
    elif size < 65_536:
        head += bytes([mask | 126]) + struct.pack("!H", size)
    else:
        head += bytes([mask | 127]) + struct.pack("!Q", size)
    return head + (b"\0\0\0\0" if masked else b"") + payload


def close(code: int | None, reason: bytes = b"") -> bytes:
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


@dataclass
class Line:
    """One connection to the scripted upstream: the head of its request, and frames read one by one."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    head: bytes

    def values(self, name: bytes) -> list[bytes]:
        lines = [line.partition(b":") for line in self.head.split(b"\r\n")[1:]]
        return [value.strip() for key, _, value in lines if key.lower() == name]

    def grant(self, *fields: bytes, accept: bytes | None = None) -> bytes:
        """The 101 that fits this request."""
        lines = [
            b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade",
            b"Sec-WebSocket-Accept: " + (digest(self.values(b"sec-websocket-key")[0]) if accept is None else accept),
            *fields, b"", b"",
        ]  # fmt: skip
        return b"\r\n".join(lines)

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def frame(self) -> tuple[int, bytes]:
        """The next frame that the gateway sends, which must be masked: ``(opcode, payload)``."""
        first, second = await self.reader.readexactly(2)
        assert second & 0x80, "RFC 6455 5.3: a client masks"
        size = second & 0x7F
        if size > 125:
            size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8), "big")
        mask = await self.reader.readexactly(4)
        payload = await self.reader.readexactly(size)
        whole = mask * (size // 4 + 1)
        plain = int.from_bytes(payload, "big") ^ int.from_bytes(whole[:size], "big")
        return first & 0x0F, plain.to_bytes(size, "big")

    async def closed_with(self) -> int | None:
        """The code of the close frame that comes, other frames passed over; None without one."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                opcode, payload = await self.frame()
                if opcode == CLOSE:
                    return int.from_bytes(payload[:2], "big") if payload else 1005
        return None

    async def ended(self) -> None:
        """Until the gateway has closed the connection."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65_536):
                pass


Script = Callable[[Line], Awaitable[None]]


@dataclass
class Origin:
    """A scripted upstream: each connection's request head is read and given to ``script``."""

    script: Script
    port: int = 0
    heads: list[bytes] = field(default_factory=list)
    finished: list[BaseException | None] = field(default_factory=list)
    running: set[Any] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self.running.add(task)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            await self.script(Line(reader, writer, head))
            self.finished.append(None)
        except (Exception, asyncio.CancelledError) as error:
            self.finished.append(error)
        finally:
            self.running.discard(task)
            writer.close()


@contextlib.asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[Origin]:
    origin = Origin(script)
    server = await asyncio.start_server(origin.serve, "127.0.0.1", 0, limit=2**25)
    origin.port = server.sockets[0].getsockname()[1]
    try:
        yield origin
    finally:
        server.close()
        for task in [*origin.running]:
            task.cancel()
            await asyncio.wait((task,))


async def echo(line: Line) -> None:
    """Grants, then sends every message back until it is closed."""
    line.send(line.grant())
    while True:
        opcode, payload = await line.frame()
        if opcode in (TEXT, BINARY):
            line.send(frame(opcode, payload))
        elif opcode == PING:
            line.send(frame(PONG, payload))
        elif opcode == CLOSE:
            line.send(frame(CLOSE, payload))
            return


def probed(script: Script) -> Script:
    """``script``, but ``echo`` on the path ``/ws/probe``."""

    async def either(line: Line) -> None:
        await (echo if line.head.startswith(b"GET /ws/probe ") else script)(line)

    return either


@dataclass
class Stage:
    """A gateway, its scripted upstream, and a client."""

    gateway: Gateway
    origin: Origin

    def connect(self, path: str = "/ws/a", *, key: str | None = KEY, **more: Any) -> connect:
        headers = {**({"x-api-key": key} if key else {}), **more.pop("headers", {})}
        more.setdefault("open_timeout", DEADLINE_S)
        more.setdefault("ping_interval", None)
        more.setdefault("max_size", None)
        more.setdefault("compression", None)
        uri = f"ws://127.0.0.1:{self.gateway.port}{path}"
        return connect(uri, additional_headers=headers, proxy=None, **more)

    async def probe(self) -> None:
        """Another caller's socket finds the pool, the slots and the gateway as they should be."""
        async with self.connect("/ws/probe") as socket:
            await socket.send("marker")
            assert await socket.recv() == "marker"

    async def outcome(self, count: int = 1) -> Any:
        """The last of exactly ``count`` finished calls, waited for."""
        async with asyncio.timeout(DEADLINE_S):
            while len(self.gateway.recorder.seen) < count:
                await asyncio.sleep(0.005)
        assert len(self.gateway.recorder.seen) == count
        return self.gateway.recorder.seen[-1][1]

    @property
    def exchange(self) -> Any:
        return self.gateway.recorder.seen[-1][0]


@contextlib.asynccontextmanager
async def stage(
    home: Path, script: Script, server: ServerName = "granian", files: dict[str, Any] | None = None, **more: Any
) -> AsyncIterator[Stage]:
    directory = home / "policy"
    directory.mkdir()
    (directory / "policy.yaml").write_text(json.dumps(files or policy()))
    async with (
        scripted(script) as origin,
        gateway(
            home / "state", policies=directory, server=server, env={"ORIGIN_PORT": str(origin.port)}, **more
        ) as running,
    ):
        yield Stage(running, origin)


async def ended(socket: ClientConnection) -> tuple[int | None, str | None]:
    """Code and reason with which the gateway closed, waited for."""
    async with asyncio.timeout(DEADLINE_S):
        await socket.wait_closed()
    return socket.close_code, socket.close_reason
