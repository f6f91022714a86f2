"""The two HTTP servers a worker can run on, behind one small port: serve an inherited socket, stop gracefully.

Both stop accepting at ``stop`` and return from ``run`` once every request in flight has been answered; how
long that may take is the worker's business. HTTP/1.1 only (RULINGS 20).
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from typing import Any, Protocol

from policies.websocket import LARGEST_MESSAGE

BACKLOG = 2_048
CONNECTIONS = 16_384
"""Connections a worker holds at the same time; more wait in the listener's queue."""
LARGEST_HEAD = 64 * 1024
"""What a request's head may take. Both servers look only when what they have read so far is no whole head, so that
a single read may bring some more. granian reads bodies in pieces of this size, too; larger ones cost it more CPU."""
IDLE_S = 75
"""How long a connection may wait for its next request: longer than load balancers keep one (60 s), which would
otherwise send a request into a connection that is just being closed. granian counts it until the head's end."""
PONG_S = 60.0
"""How long a caller of a WebSocket may take to answer uvicorn's ping, which waits behind whatever it still reads."""
PROBE_AFTER_S = 60
PROBES = 4
PROBE_EVERY_S = 15
"""A silent caller is probed by TCP itself: one that has vanished gives its slots back after two minutes."""


class HttpServer(Protocol):
    async def run(self) -> None:
        """Serve until stopped and idle. Raises when the application did not start."""

    def stop(self) -> None:
        """Stop accepting, close idle connections, let requests in flight end."""


def make(kind: str, app: Any, listener: socket.socket) -> HttpServer:
    """The server of ``kind`` for ``app`` on ``listener``, which it takes over."""
    return _Uvicorn(app, listener) if kind == "uvicorn" else _Granian(app, listener)


class _Granian:
    """granian embedded in this process's loop.

    Its own sockets are per-worker ``SO_REUSEPORT`` listeners, whose queues die with the worker; a holder
    made from the supervisor's descriptor shares one queue instead, so that connections outlive a worker.
    """

    def __init__(self, app: Any, listener: socket.socket) -> None:
        from granian._granian import SocketHolder
        from granian.constants import HTTPModes, Interfaces
        from granian.http import HTTP1Settings
        from granian.log import LogLevels
        from granian.server.embed import Server

        class Shared(Server):
            def _init_shared_socket(self) -> None:
                self._ssp, self._shd = None, holder

        logging.getLogger("_granian").addFilter(_no_notice)
        host, port = listener.getsockname()[:2]
        made: Any = SocketHolder  # its stub does not show the arguments: descriptor, unix socket, backlog
        holder: Any = made(listener.detach(), False, BACKLOG)
        self._server: Any = Shared(
            app,
            address=host,
            port=port,
            interface=Interfaces.ASGI,
            http=HTTPModes.http1,
            websockets=True,
            backlog=BACKLOG,
            backpressure=CONNECTIONS,
            http1_settings=HTTP1Settings(header_read_timeout=IDLE_S * 1_000, max_buffer_size=LARGEST_HEAD),
            log_level=LogLevels.warning,
            log_dictconfig=_GRANIAN_LOG,
        )

    async def run(self) -> None:
        await self._server.serve()
        if self._server.interrupt_children:
            raise RuntimeError("the application did not start")

    def stop(self) -> None:
        self._server.stop()


_GRANIAN_LOG: dict[str, Any] = {
    "handlers": {},
    "loggers": {"_granian": {"handlers": [], "level": "WARNING", "propagate": True}},
}


def _no_notice(record: logging.LogRecord) -> bool:
    """Keeps granian's notice that embedding is experimental out of every start; docs/decisions.md carries it."""
    return "Embedded server is experimental" not in record.getMessage()


def _no_blame(record: logging.LogRecord) -> bool:
    """uvicorn calls it an error that a handshake was refused, which any caller can bring about at will."""
    return "without completing handshake" not in record.getMessage()


class _Uvicorn:
    """uvicorn without its own Date and Server fields (RULINGS 20); signals stay the worker's."""

    def __init__(self, app: Any, listener: socket.socket) -> None:
        import uvicorn

        class Server(uvicorn.Server):
            @contextlib.contextmanager
            def capture_signals(self) -> Iterator[None]:
                yield

        config = uvicorn.Config(
            app,
            lifespan="on",
            access_log=False,
            server_header=False,
            date_header=False,
            log_config=None,
            log_level="warning",
            ws="websockets-sansio",
            ws_max_size=LARGEST_MESSAGE,
            ws_per_message_deflate=False,  # the other server has none, and content passes as it is
            ws_ping_timeout=PONG_S,
            http="h11",  # the other one parses all that a connection pipelines at once, and bounds no head
            h11_max_incomplete_event_size=LARGEST_HEAD,
            timeout_keep_alive=IDLE_S,
            backlog=BACKLOG,
            proxy_headers=False,
        )
        logging.getLogger("uvicorn.error").addFilter(_no_blame)
        self._server = Server(config)
        self._listener = listener

    async def run(self) -> None:
        try:
            await self._server.serve(sockets=[self._listener])
        except SystemExit as exit_:
            raise RuntimeError("the application did not start") from exit_
        if not self._server.started:
            raise RuntimeError("the application did not start")

    def stop(self) -> None:
        self._server.should_exit = True


def raise_file_limit() -> None:
    """As many open files as the hard limit allows: two sockets a proxied request outgrow the usual 1,024."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def adopt(descriptor: int) -> socket.socket:
    """The listening socket behind an inherited ``descriptor``."""
    os.set_inheritable(descriptor, False)
    listener = socket.socket(fileno=descriptor)
    listener.setblocking(False)
    probing(listener)
    return listener


def probing(listener: socket.socket) -> None:
    """Every connection accepted from ``listener`` inherits these on Linux (tcp(7))."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", PROBE_AFTER_S), ("TCP_KEEPINTVL", PROBE_EVERY_S), ("TCP_KEEPCNT", PROBES)):
        if hasattr(socket, option):
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
