"""``POST /ledger/edge|probes|support?source=NAME``: evidence from machines that reach the gateway by network only.

Decides what such a request may be and how it is answered; the token and the Host are looked at before. One at a time,
bounded, and in a thread: neither memory nor the supervisor's loop is the sender's to spend.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.settings import Settings

FOLDER: Final = "/ledger/"
BODY_S: Final = 60.0
"""How long a body may take to arrive; others wait for it."""

Answer = tuple[int, Mapping[str, Any]]
Take = Callable[[str, str, bytes], Answer]
"""Takes what a source sent, in a thread. Raises nothing."""


def create_posting(take: Take, most: int, *, body_s: float = BODY_S) -> Any:
    """The ASGI application; ``most`` bytes are read at most."""
    turn = asyncio.Lock()

    async def post(request: Request) -> Response:
        what, sources = request.path_params["what"], request.query_params.getlist("source")
        if len(sources) != 1 or set(request.query_params) != {"source"}:
            return _said(400, f"name one source, as in {FOLDER}{what}?source=lb-eu")
        async with turn:
            try:
                async with asyncio.timeout(body_s):
                    data = await _body(request, most)
            except TimeoutError:
                return _said(408, f"the body did not arrive within {body_s:g} s")
            if data is None:
                return _said(413, f"the body is larger than {most // 1024**2} MiB; send it in parts")
            status, members = await asyncio.to_thread(take, what, sources[0], data)
        return JSONResponse(dict(members), status, {"retry-after": "60"} if status == 503 else None)

    return Starlette(
        routes=[Route(FOLDER + "{what}", post, methods=["POST"])], exception_handlers={ClientDisconnect: _gone}
    )


async def _gone(request: Request, error: Exception) -> Response:
    return _said(400, "the body is not complete; nothing was taken")


async def _body(request: Request, most: int) -> bytes | None:
    """None for one that is too large."""
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > most:
        return None
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            return None
        parts.append(part)
    return b"".join(parts)


def _said(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status)


def taker(settings: Settings, env: Mapping[str, str]) -> Take:
    """Takes into the ledger of ``settings``, from within the gateway's process."""
    return lambda what, source, data: _taken(settings, env, what, source, data)


def _taken(settings: Settings, env: Mapping[str, str], what: str, source: str, data: bytes) -> Answer:
    from gateway.sla import (  # the database's driver, which a gateway that is sent nothing need not load
        importing,
        recording,
    )

    try:
        offer = importing.offered(what, source, data)
    except KeyError:
        return 404, {"error": f"{what} is not imported; edge, probes and support are"}
    except ValueError as error:
        return 400, {"error": str(error)}
    try:
        receipt = importing.take(
            settings, offer, env, importing.within_gateway(settings, f"import:{source}"), make=True
        )
    except (ValueError, recording.Refused) as error:
        return 422, {"error": str(error), "line": getattr(error, "line", None)}
    except (importing.NotTaken, recording.NotRecorded) as error:
        return 503, {"error": str(error)}
    return 200, {**receipt.content, "act": receipt.act}
