"""Two ASGI apps without a gateway's work, on the gateway's own server and event loop: what is left is the pipeline.

    python -m loadtests.bare --port 8081 [--answer FILE]                 the same bytes for every request
    python -m loadtests.bare --port 8081 --forward 9001 [--ca FILE]     every request through the engine alone

FILE is JSON: ``{"status": 429, "headers": [["name", "value"]], "body": "text"}``.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from gateway import http_servers
from policies.model import Pool, Tls, Upstream
from policies.paths import FRAMING
from upstreams.transport import Transport, UpstreamRequest

App = Callable[[Any, Any, Any], Awaitable[None]]
BODY = '{"items":[' + ",".join(f'{{"id":{number},"name":"item-{number:04}"}}' for number in range(6)) + "]}"
"""What every benchmark's upstream answers: about 200 bytes of JSON."""
ORDINARY = {
    "status": 200,
    "headers": [["content-type", "application/json"], ["content-length", str(len(BODY))]],
    "body": BODY,
}
OWN_FIELDS = frozenset({b"host", b"connection", b"x-api-key"})
CLIENTS = 512


def answering(answer: dict[str, Any]) -> App:
    """An app that has its answer ready before the first request."""
    fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer["headers"]]
    start = {"type": "http.response.start", "status": answer["status"], "headers": fields}
    body = {"type": "http.response.body", "body": answer["body"].encode()}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start)
        await send(body)

    return app


def forwarding(transport: Transport, authority: bytes) -> App:
    """An app that passes requests on and answers with what comes back."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [pair for pair in scope["headers"] if pair[0] not in OWN_FIELDS]
        headers.append((b"host", authority))
        asked = UpstreamRequest(method=scope["method"].encode(), target=scope["raw_path"], headers=headers)
        if scope["method"] != "GET":
            with_body(asked, receive)
        answer = await transport.send(asked)
        fields = [pair for pair in answer.headers if pair[0] not in OWN_FIELDS]
        await send({"type": "http.response.start", "status": answer.status, "headers": fields})
        if answer.content is None:
            async for chunk in answer.body():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": answer.content or b""})

    return app


def with_body(asked: UpstreamRequest, receive: Any) -> None:
    """Give ``asked`` the body that ``receive`` brings, of the length that its fields say."""
    lengths = [value for name, value in asked.headers if name == b"content-length"]
    asked.headers = [pair for pair in asked.headers if pair[0] not in FRAMING]
    asked.content_length = int(lengths[0]) if lengths else None
    asked.body = received(receive)


async def received(receive: Any) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        if message.get("body"):
            yield message["body"]


def engine(port: int, ca: str | None) -> tuple[Transport, bytes]:
    """The HTTP/1.1 engine for the upstream on ``port``, and the authority it is called by."""
    host = "localhost" if ca else "127.0.0.1"
    upstream = Upstream(
        name="origin",
        scheme="https" if ca else "http",
        host=host,
        port=port,
        base_path="",
        vendor=host,
        pool=Pool(connections=CLIENTS),
        tls=Tls(ca=ca),
    )
    made: Any = importlib.import_module("upstreams.http1").Http1Transport
    return made(upstream, listeners=frozenset()), upstream.authority.encode()


def with_lifespan(app: App) -> App:
    async def served(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})

    return served


async def serve(chosen: argparse.Namespace) -> None:
    """Until SIGTERM."""
    if chosen.forward is not None:
        app = forwarding(*engine(chosen.forward, chosen.ca.read_text() if chosen.ca else None))
    else:
        app = answering(json.loads(chosen.answer.read_text()) if chosen.answer else ORDINARY)
    listener = socket.create_server(("127.0.0.1", chosen.port), backlog=http_servers.BACKLOG)
    listener.setblocking(False)
    server = http_servers.make(chosen.server, with_lifespan(app), listener)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    running = asyncio.create_task(server.run())
    stopped = asyncio.create_task(stop.wait())
    gc.collect()
    gc.freeze()  # as the gateway's worker does
    await asyncio.wait((running, stopped), return_when=asyncio.FIRST_COMPLETED)
    server.stop()
    await asyncio.wait((running,), timeout=2.0)
    stopped.cancel()


def main() -> int:
    import uvloop

    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--answer", type=Path, help="what to answer; default: 200 and about 200 bytes of JSON")
    parser.add_argument("--forward", type=int, metavar="PORT", help="pass requests on to 127.0.0.1:PORT instead")
    parser.add_argument("--ca", type=Path, help="with --forward: call localhost:PORT over TLS and verify it with this")
    parser.add_argument("--server", choices=("granian", "uvicorn"), default="granian")
    uvloop.run(serve(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
