"""The gateway that many would write: Starlette, httpx and slowapi, in the way their documentation shows.

Run by uvicorn with ``UPSTREAM`` (a URL) and, over TLS, ``UPSTREAM_CA`` in the environment. Imports nothing of ours.
"""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import AsyncIterator

import httpx
from slowapi import Limiter  # type: ignore[import-not-found,import-untyped,unused-ignore]
from slowapi.errors import RateLimitExceeded  # type: ignore[import-not-found,import-untyped,unused-ignore]
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

UPSTREAM = os.environ.get("UPSTREAM", "http://127.0.0.1:9001")
STRIPPED = frozenset({b"connection", b"keep-alive", b"transfer-encoding", b"upgrade", b"te", b"host", b"x-api-key"})


def caller(request: Request) -> str:
    return request.headers.get("x-api-key", "")


limiter = Limiter(key_func=caller, headers_enabled=True)


@limiter.limit("100000000/minute;1000000/second")  # type: ignore[untyped-decorator,unused-ignore]
async def forward(request: Request) -> Response:
    client: httpx.AsyncClient = request.app.state.client
    headers = [(name, value) for name, value in request.headers.raw if name not in STRIPPED]
    answer = await client.request(request.method, request.url.path, headers=headers, content=await request.body())
    kept = {name: value for name, value in answer.headers.items() if name.encode() not in STRIPPED}
    return Response(answer.content, answer.status_code, kept)


async def refused(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "rate_limited"}, 429)


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    ca = os.environ.get("UPSTREAM_CA")
    verify = ssl.create_default_context(cafile=ca) if ca else True
    pool = httpx.Limits(max_connections=200, max_keepalive_connections=200)
    async with httpx.AsyncClient(base_url=UPSTREAM, verify=verify, limits=pool, trust_env=False) as client:
        app.state.client = client
        yield


app = Starlette(
    routes=[Route("/{rest:path}", forward, methods=["GET"])],
    exception_handlers={RateLimitExceeded: refused},
    lifespan=lifespan,
)
app.state.limiter = limiter
