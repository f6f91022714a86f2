"""Errors as responses: one table, one renderer; after the head nothing but an end."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from middleware.problems import Problems, prefers_problem
from policies.errors import ERRORS, IANA_PREFIX, GatewayError
from policies.exchange import SCOPE_KEY, Exchange
from tests.middleware.harness import Recorded

pytestmark = pytest.mark.anyio


def scope(method: str = "GET", *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    exchange = Exchange(started_us=0, started_wall_us=0, request_id="req-1")
    return {"type": "http", "method": method, "headers": list(headers), SCOPE_KEY: exchange}


async def answered(error: Exception, asked: dict[str, Any]) -> Recorded:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        raise error

    recorded = Recorded()
    await Problems(failing)(asked, None, recorded.send)  # type: ignore[arg-type]
    return recorded


def head_of(recorded: Recorded) -> dict[bytes, bytes]:
    headers = recorded.messages[0]["headers"]
    assert len(dict(headers)) == len(headers), "two lines of one field"
    return dict(headers)


def body_of(recorded: Recorded) -> Any:
    return json.loads(recorded.messages[1]["body"])


@pytest.mark.parametrize("code", ERRORS)
async def test_every_row_of_the_table_renders_as_itself(code: str) -> None:
    row, asked = ERRORS[code], scope()
    recorded = await answered(GatewayError(code, "shown", cause_text="never shown", retry_after_s=7), asked)
    head, body = head_of(recorded), body_of(recorded)
    assert recorded.messages[0]["status"] == row.status == body["status"]
    assert body["error"] == row.word
    assert body["type"] == (IANA_PREFIX + row.iana if row.iana else f"/docs/problems/{code}")
    assert body["title"] == row.title
    assert (body["source"], body["detail"], body["request_id"]) == (row.source, "shown", "req-1")
    assert int(head[b"content-length"]) == len(recorded.messages[1]["body"])
    assert head[b"cache-control"] == b"no-store"
    assert b"never shown" not in recorded.messages[1]["body"]
    exchange = asked[SCOPE_KEY]
    assert (exchange.error_code, exchange.detail, exchange.origin) == (code, "never shown", "gateway")


@pytest.mark.parametrize("code", ERRORS)
def test_every_row_of_the_table_has_a_page_that_says_the_same(code: str) -> None:
    page = Path("docs/problems") / f"{code}.md"
    text = page.read_text(encoding="utf-8")
    row = ERRORS[code]
    assert text.startswith(f"# {row.title}\n")
    assert f"`{row.word}`" in text
    assert re.search(rf"\b{row.status}\b", text)
    assert row.source is None or f"`{row.source}`" in text


def test_no_page_is_left_without_a_row() -> None:
    assert {page.stem for page in Path("docs/problems").glob("*.md")} - {"README"} == set(ERRORS)


async def test_an_unknown_exception_is_500_and_leaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    asked = scope()
    recorded = await answered(RuntimeError("password=hunter2"), asked)
    assert recorded.messages[0]["status"] == 500
    assert b"hunter2" not in recorded.messages[1]["body"]
    assert "hunter2" in asked[SCOPE_KEY].detail
    assert len(caplog.records) == 1


async def test_head_gets_no_body_and_the_length_that_get_would_have() -> None:
    get, head = [await answered(GatewayError("no-route"), scope(method)) for method in ("GET", "HEAD")]
    assert head.messages[1]["body"] == b""
    assert head_of(head)[b"content-length"] == head_of(get)[b"content-length"]


async def test_after_the_head_the_error_goes_on_and_nothing_is_sent() -> None:
    asked = scope()
    asked[SCOPE_KEY].head_sent = True
    with pytest.raises(GatewayError, match="upstream-protocol"):
        await answered(GatewayError("upstream-protocol"), asked)
    assert asked[SCOPE_KEY].error_code == "upstream-protocol"


async def test_a_request_that_a_drain_cuts_is_told_so_and_stays_cancelled() -> None:
    async def cut(scope: Any, receive: Any, send: Any) -> None:
        raise asyncio.CancelledError

    recorded, asked = Recorded(), scope()
    with pytest.raises(asyncio.CancelledError):
        await Problems(cut)(asked, None, recorded.send)  # type: ignore[arg-type]
    assert recorded.messages[0]["status"] == 503
    assert body_of(recorded)["error"] == "draining"
    assert head_of(recorded)[b"retry-after"] == b"1"
    for fact in ("head_sent", "client_gone"):
        silent, asked = Recorded(), scope()
        setattr(asked[SCOPE_KEY], fact, True)
        with pytest.raises(asyncio.CancelledError):
            await Problems(cut)(asked, None, silent.send)  # type: ignore[arg-type]
        assert silent.messages == []


async def test_other_scopes_pass_through() -> None:
    with pytest.raises(KeyError):
        await answered(KeyError("mine"), {"type": "lifespan"})


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (b"", False),
        (b"application/problem+json", True),
        (b"Application/Problem+JSON", True),
        (b"application/problem+json;q=0.2, application/json;q=0.3", False),
        (b"application/problem+json;q=0.3, application/json;q=0.2", True),
        (b"application/problem+json;q=nan", False),
        (b"application/problem+json;q=x", False),
        (b"application/*;q=0.9, application/problem+json;q=0.8", False),
    ],
)
def test_accept_decides_by_rank_then_by_exactness(accept: bytes, expected: bool) -> None:
    assert prefers_problem([(b"accept", accept)]) is expected
